package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/server"
)

type serveCommand struct {
	Weights       []string      `arg:"" optional:"" help:"Models: files of weights, configurations' names for their public releases, or a folder of files, which is watched. NAME=FILE calls a model NAME; else it has its file's name without extension. Without any, the network that vgg train left last in the folder of --runs."`
	Addr          string        `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to listen on (127.0.0.1:8080). Another than this machine's own needs --api-key-file or --insecure."`
	AdminAddr     string        `placeholder:"HOST:PORT" help:"Address for profiles of the process (net/http/pprof), on this machine only."`
	Host          []string      `placeholder:"NAME" help:"Name by which clients call the service, beside localhost and the address; * allows any. Can be given more than once."`
	Index         string        `placeholder:"FILE" help:"Index of pictures (vgg index), in which /v1/similar finds those that are similar to a picture. It is read again when it changes."`
	IndexPictures string        `placeholder:"DIR" help:"Folder of the index's pictures (the folder that the index lies in). Only pictures below it are shown."`
	Localiser     string        `placeholder:"FILE" help:"Localisation network (vgg localize train), whose boxes /v1/localize gives."`
	Runs          string        `default:"runs" placeholder:"DIR" help:"Folder of training runs, which /v1/runs and the page show live, and whose latest network is served if no model is named (runs)."`
	APIKeyFile    string        `name:"api-key-file" placeholder:"FILE" help:"File of keys, one on each line, of which every request has to give one (Authorization: Bearer KEY). It is read again when it changes."`
	Insecure      bool          `help:"Listen on an address that others reach, without keys."`
	TLSCert       string        `name:"tls-cert" placeholder:"FILE" help:"Certificate chain for HTTPS, as PEM. It is read again when it changes."`
	TLSKey        string        `name:"tls-key" placeholder:"FILE" help:"Private key of the certificate, as PEM."`
	AllowTeach    bool          `help:"Let requests make models of pictures (/v1/teach) with --insecure too. Elsewhere they may."`
	AllowLoad     bool          `help:"Let requests load and unload the models (/v2/repository/models/…/load)."`
	MaxBatch      int           `default:"8" placeholder:"N" help:"Most images that go through a network together (8)."`
	MaxDelay      time.Duration `default:"0" placeholder:"TIME" help:"Time that an image waits for others to go with it, such as 5ms (0)."`
	Queue         int           `default:"64" placeholder:"N" help:"Most images that wait for one model; more are refused with code 429 (64)."`
	MaxBody       size          `default:"32MiB" placeholder:"SIZE" help:"Most bytes of a request's body, before and after its compression (32MiB)."`
	MaxImages     int           `default:"32" placeholder:"N" help:"Most images of one request (32)."`
	Timeout       time.Duration `default:"30s" placeholder:"TIME" help:"Longest time of a request (30s)."`
	Cache         size          `default:"32MiB" placeholder:"SIZE" help:"Memory for answers that are given again to the same question (32MiB)."`
	NoCache       bool          `help:"Compute every answer anew."`
	Drain         time.Duration `default:"30s" placeholder:"TIME" help:"Time that requests have to end after SIGTERM (30s)."`
	Plan          bool          `help:"Print the memory that the service takes at most, and end."`
	modelFlags
	storageFlag
	deviceFlags
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (serveCommand) Help() string {
	return `Serves models over HTTP: classes of pictures by a plain way, tensors by the Open Inference Protocol v2 that KServe, Triton and OpenVINO speak, and metrics for Prometheus.

  - Requests that wait together go through the network together. An answer has the same bits whatever it went with.
  - A file of weights that changes, and SIGHUP, make the service read it anew. The old network answers until the new one is ready, and stays if the new one can't be read.
  - SIGTERM refuses what comes from then on, and answers what was accepted.
  - curl -T photo.jpg http://127.0.0.1:8080/v1/classify asks for the classes of a picture.
  - curl -T photo.jpg …/v1/explain, features, localize (--localiser) and similar (--index) ask for more; /openapi.json describes all addresses.
  - Every flag can be given in the environment, as VGG_MAX_BATCH is for --max-batch.

Examples:

    vgg serve D
    vgg serve flowers=runs/flowers/best.safetensors --addr :8080 --api-key-file keys.txt
    vgg serve models --plan` + exitHelp
}

func (c *serveCommand) Run(e *environment) error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	sources, folder, err := c.sources(e, threads)
	if err != nil {
		return err
	}
	limits, err := c.limits()
	if err != nil {
		return err
	}
	plan, err := c.plan(e, sources, folder, limits, threads)
	if err != nil {
		return err
	}
	if c.Plan {
		return plan.print(e, c.JSON)
	}
	if err := resources.Fits("the service", plan.Bytes); err != nil {
		return fmt.Errorf("%w: lower --max-batch, --max-body or --queue, or serve fewer models; vgg serve --plan shows what takes it", err)
	}
	// Garbage counts too: the collector keeps it within what the parts leave.
	if limit := heapLimit(plan.Bytes); limit < debug.SetMemoryLimit(-1) {
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	}
	listener, err := c.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	return c.serve(e, listener, sources, folder, limits)
}

// teaches tells whether requests may make models: where nobody but this machine's users and
// those with a key can ask, unless it is allowed.
func (c *serveCommand) teaches() bool { return c.AllowTeach || !c.Insecure }

// limits returns the limits that the flags give.
func (c *serveCommand) limits() (server.Limits, error) {
	l := server.DefaultLimits()
	l.Body, l.Images, l.Queue, l.Time, l.Answers = int64(c.MaxBody), c.MaxImages, c.Queue, c.Timeout, int64(c.Cache)
	if c.pixels() != 0 {
		l.Pixels = c.pixels()
	}
	switch {
	case c.MaxImages < 1:
		return l, usagef("--max-images %d, want at least 1", c.MaxImages)
	case c.Queue < 1:
		return l, usagef("--queue %d, want at least 1", c.Queue)
	case c.Timeout <= 0:
		return l, usagef("--timeout %v, want more than 0", c.Timeout)
	case c.MaxBatch < 1 || c.MaxBatch > 1024:
		return l, usagef("--max-batch %d, want 1 to 1024", c.MaxBatch)
	case c.MaxDelay < 0 || c.MaxDelay > time.Minute:
		return l, usagef("--max-delay %v, want 0 to 1m", c.MaxDelay)
	case c.Drain < 0:
		return l, usagef("--drain %v, want 0 or more", c.Drain)
	}
	if c.NoCache {
		l.Answers = -1
	}
	l.Bodies = max(l.Bodies, 8*l.Body) // with what is made of one
	return l, nil
}

// listen returns the listener that systemd hands over, or that of --addr.
func (c *serveCommand) listen() (net.Listener, error) {
	handed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("the sockets of systemd: %w", err)
	}
	if len(handed) > 1 {
		return nil, fmt.Errorf("systemd hands over %d sockets, want one", len(handed))
	}
	open := c.APIKeyFile == "" && !c.Insecure
	if len(handed) == 1 {
		if tcp, ok := handed[0].Addr().(*net.TCPAddr); ok && open && !tcp.IP.IsLoopback() {
			return nil, usagef("the socket %v is reached by others, want --api-key-file, or --insecure to serve everybody", tcp)
		}
		return handed[0], nil
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, usagef("--addr %s, want HOST:PORT, as 127.0.0.1:8080 or :8080", c.Addr)
	}
	if open && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, usagef("--addr %s is reached by others, want --api-key-file, or --insecure to serve everybody", c.Addr)
	}
	l, err := net.Listen("tcp", c.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--addr %s is in use by another program, want another port, as --addr 127.0.0.1:8081", c.Addr)
	}
	return l, err
}

// hosts are the names by which the service may be called.
func (c *serveCommand) hosts(l net.Listener) []string {
	hosts := slices.Clone(c.Host)
	host, _, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return hosts
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return append(hosts, host)
	}
	// It listens on all addresses of the machine: those are its names.
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				hosts = append(hosts, n.IP.String())
			}
		}
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	return hosts
}

// serve answers requests until the end of the command.
func (c *serveCommand) serve(e *environment, listener net.Listener, list []served, folder string, limits server.Limits) error {
	log := slog.New(slog.NewJSONHandler(e.stderr, nil))
	samples, err := pageSamples()
	if err != nil {
		return err
	}
	o := server.Options{
		Samples: samples,
		Limits:  limits, MaxBatch: c.MaxBatch, MaxDelay: c.MaxDelay, Hosts: c.hosts(listener), AllowLoad: c.AllowLoad, AllowTeach: c.teaches(), Runs: c.Runs, Version: programVersion(), Log: log,
	}
	if c.APIKeyFile != "" {
		keys := &watchedFile[[]string]{path: c.APIKeyFile, log: log, read: func() ([]string, error) {
			data, err := wholefile.Read(c.APIKeyFile, wholefile.MaxText)
			if err != nil {
				return nil, err
			}
			return server.ParseKeys(data)
		}}
		if _, err := keys.get(); err != nil {
			return fmt.Errorf("--api-key-file %s: %w", c.APIKeyFile, err)
		}
		o.Keys = func() []string { k, _ := keys.get(); return k }
	}
	var secure *tls.Config
	if c.TLSCert != "" {
		certificate := &watchedFile[*tls.Certificate]{path: c.TLSCert, log: log, read: func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
			return &pair, err
		}}
		if _, err := certificate.get(); err != nil {
			return fmt.Errorf("--tls-cert %s, --tls-key %s: %w", c.TLSCert, c.TLSKey, err)
		}
		secure = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.get() }, MinVersion: tls.VersionTLS12}
	}
	s, err := server.New(o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := c.load(e, s, list, folder); err != nil {
		return err
	}
	if err := c.more(e, s, list); err != nil {
		return err
	}
	admin, err := c.admin()
	if err != nil {
		return err
	}
	if admin != nil {
		defer admin.Close()
	}
	return c.listenAndServe(e, s, listener, secure, log)
}

// load reads the models.
func (c *serveCommand) load(e *environment, s *server.Server, list []served, folder string) error {
	if folder != "" {
		return s.Follow(e.ctx, func() ([]server.Source, error) {
			list, err := c.inFolder(e, folder, runtime.GOMAXPROCS(0))
			var sources []server.Source
			for _, m := range list {
				sources = append(sources, m.Source)
			}
			return sources, err
		})
	}
	for _, m := range list {
		if err := s.Add(e.ctx, m.Source); err != nil {
			return err
		}
	}
	return nil
}

// admin serves profiles of the process at --admin-addr.
func (c *serveCommand) admin() (*http.Server, error) {
	if c.AdminAddr == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(c.AdminAddr)
	if err != nil || host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, usagef("--admin-addr %s, want an address of this machine alone, as 127.0.0.1:6060", c.AdminAddr)
	}
	l, err := net.Listen("tcp", c.AdminAddr)
	if err != nil {
		return nil, fmt.Errorf("--admin-addr: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	h := &http.Server{Handler: local(mux), ReadHeaderTimeout: 5 * time.Second}
	go h.Serve(l)
	return h, nil
}

// local refuses what a page of another site makes a browser on this machine ask for: by a name
// of its own that leads here, or from afar.
func local(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		site := r.Header.Get("Sec-Fetch-Site")
		if host != "localhost" && !net.ParseIP(strings.Trim(host, "[]")).IsLoopback() || site == "cross-site" || site == "same-site" {
			http.Error(w, "profiles are for this machine's own programs", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// listenAndServe answers requests until the end of the command, and then ends what it has
// accepted.
func (c *serveCommand) listenAndServe(e *environment, s *server.Server, listener net.Listener, secure *tls.Config, log *slog.Logger) error {
	h := &http.Server{
		Handler: s, TLSConfig: secure, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: c.Timeout, WriteTimeout: 2 * c.Timeout, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	h.Protocols = new(http.Protocols)
	h.Protocols.SetHTTP1(true)
	h.Protocols.SetHTTP2(true)
	h.Protocols.SetUnencryptedHTTP2(true) // for gRPC without TLS
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	ended := make(chan error, 1)
	go func() {
		if secure != nil {
			ended <- h.ServeTLS(listener, "", "")
		} else {
			ended <- h.Serve(listener)
		}
	}()
	address := fmt.Sprintf("%s://%s", scheme, shownAddress(listener.Addr()))
	if c.JSON {
		if err := writeJSON(e.stdout, map[string]any{"address": address, "models": s.Models()}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(e.stdout, "Serving %s at %s\n\nOpen %s in a browser, or try: curl -T photo.jpg %s/v1/classify\n", strings.Join(s.Models(), ", "), address, address, address)
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // nothing without systemd
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case err := <-ended:
			return err
		case <-hangup:
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading)
			s.ReloadAll(e.ctx) // what fails is told in the log, and stays as it was
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
			continue
		case <-e.ctx.Done():
		}
		break
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	log.Info("draining")
	s.Drain()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), c.Drain)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		_ = h.Close()
		return fmt.Errorf("requests were cut off after --drain %v", c.Drain)
	}
	return nil
}

// shownAddress is an address that can be opened on this machine.
func shownAddress(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return a.String()
}
