package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"
)

// announced keeps what a service prints, and tells its address.
type announced struct {
	mu      sync.Mutex
	text    bytes.Buffer
	address chan string // of the service, once
}

var listens = regexp.MustCompile(`Serving .* at (http://\S+)\n`)

// Write implements [io.Writer].
func (a *announced) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := listens.Match(a.text.Bytes())
	a.text.Write(p)
	if m := listens.FindSubmatch(a.text.Bytes()); m != nil && !known {
		a.address <- string(m[1])
	}
	return len(p), nil
}

// answersFile is what a service that ended in order leaves: its answers.
const answersFile = "answers.json"

// use asks a service about some pictures while its weights change, and tells it to end. It
// returns the answers, of which some may be missing if the service is killed.
func (k *killTest) use(ctx context.Context, dir string, address <-chan string, p *os.Process, most time.Duration, done <-chan struct{}) (answers []byte) {
	defer func() { _ = p.Signal(syscall.SIGTERM) }()
	var at string
	select {
	case at = <-address:
	case <-time.After(most): // its standard output is full or closed
		return nil
	case <-done:
		return nil
	}
	for i, name := range []string{"red/00.png", "green/01.png", "blue/02.png", "red/03.png"} {
		if i%2 == 1 { // it reads its weights anew
			now := time.Now()
			_ = os.Chtimes(filepath.Join(dir, "net.safetensors"), now, now)
		}
		answer, err := ask(ctx, at, filepath.Join(k.dir, "in", "photos", filepath.FromSlash(name)))
		if err != nil {
			return fmt.Appendf(answers, "%v\n", err)
		}
		answers = append(answers, answer...)
	}
	return answers
}

// ask asks for the classes of a picture.
func ask(ctx context.Context, address, picture string) ([]byte, error) {
	b, err := os.ReadFile(picture)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, address+"/v1/classify", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return slices.Concat(answer, []byte("\n")), err
}
