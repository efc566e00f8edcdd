package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/verydeep/vgg/server"
)

// pageAddress is an address for a page: that of --page=ADDR or --page ADDR, or the default of
// --page alone.
type pageAddress string

// defaultPage is the address of --page alone. vgg serve has another.
const defaultPage = "127.0.0.1:8081"

// Decode implements [kong.MapperValue].
func (p *pageAddress) Decode(ctx *kong.DecodeContext) error {
	*p = defaultPage
	next := ctx.Scan.Peek()
	text, ok := next.Value.(string)
	if !ok {
		return nil
	}
	if next.Type != kong.FlagValueToken { // the next word may be anything
		if _, _, err := net.SplitHostPort(text); err != nil {
			return nil
		}
	}
	ctx.Scan.Pop()
	*p = pageAddress(text)
	return nil
}

// IsBool implements [kong.BoolMapperValue]: the flag needs no value.
func (pageAddress) IsBool() bool { return true }

// listen takes the address.
func (p pageAddress) listen() (net.Listener, error) {
	host, _, err := net.SplitHostPort(string(p))
	if err != nil || host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, usagef("--page %s, want an address of this machine alone, as %s; vgg serve --runs DIR shows runs to others", string(p), defaultPage)
	}
	l, err := net.Listen("tcp", string(p))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--page %s is in use by another program, want another port, as --page %s", string(p), "127.0.0.1:8082")
	}
	return l, err
}

// showPage serves the live view of a run until close.
func (p pageAddress) showPage(human io.Writer, dir string) (closePage func(), err error) {
	if p == "" {
		return func() {}, nil
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l, err := p.listen()
	if err != nil {
		return nil, err
	}
	s, err := server.New(server.Options{Runs: filepath.Dir(dir), Run: filepath.Base(dir), Version: programVersion()})
	if err != nil {
		l.Close()
		return nil, err
	}
	h := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	go h.Serve(l)
	fmt.Fprintf(human, "Live at http://%s/\n\n", shownAddress(l.Addr()))
	return func() {
		// Those who watch still see the end.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if h.Shutdown(ctx) != nil {
			_ = h.Close()
		}
		s.Close()
	}, nil
}
