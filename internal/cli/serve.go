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
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/server"
	"github.com/verydeep/vgg/train"
)

type serveCommand struct {
	Weights    []string      `arg:"" optional:"" help:"Models: files of weights, configurations' names for their public releases, or a folder of files, which is watched. NAME=FILE calls a model NAME; else it has its file's name without extension. Without any, the network that vgg train left last in the folder of --runs."`
	Addr       string        `default:"127.0.0.1:8080" env:"VGG_ADDR" placeholder:"HOST:PORT" help:"Address to listen on (127.0.0.1:8080). Another than this machine's own needs --api-key-file or --insecure."`
	AdminAddr  string        `env:"VGG_ADMIN_ADDR" placeholder:"HOST:PORT" help:"Address for profiles of the process (net/http/pprof), on this machine only."`
	Host       []string      `env:"VGG_HOST" placeholder:"NAME" help:"Name by which clients call the service, beside localhost and the address; * allows any. Can be given more than once."`
	Runs       string        `default:"runs" env:"VGG_RUNS" placeholder:"DIR" help:"Folder of training runs, whose latest network is served if no model is named (runs)."`
	APIKeyFile string        `name:"api-key-file" env:"VGG_API_KEY_FILE" placeholder:"FILE" help:"File of keys, one on each line, of which every request has to give one (Authorization: Bearer KEY). It is read again when it changes."`
	Insecure   bool          `env:"VGG_INSECURE" help:"Listen on an address that others reach, without keys."`
	TLSCert    string        `name:"tls-cert" env:"VGG_TLS_CERT" placeholder:"FILE" help:"Certificate chain for HTTPS, as PEM. It is read again when it changes."`
	TLSKey     string        `name:"tls-key" env:"VGG_TLS_KEY" placeholder:"FILE" help:"Private key of the certificate, as PEM."`
	AllowLoad  bool          `env:"VGG_ALLOW_LOAD" help:"Let requests load and unload the models (/v2/repository/models/…/load)."`
	MaxBatch   int           `default:"8" env:"VGG_MAX_BATCH" placeholder:"N" help:"Most images that go through a network together (8)."`
	MaxDelay   time.Duration `default:"0" env:"VGG_MAX_DELAY" placeholder:"TIME" help:"Time that an image waits for others to go with it, such as 5ms (0)."`
	Queue      int           `default:"64" env:"VGG_QUEUE" placeholder:"N" help:"Most images that wait for one model; more are refused with code 429 (64)."`
	MaxBody    size          `default:"32MiB" env:"VGG_MAX_BODY" placeholder:"SIZE" help:"Most bytes of a request's body, before and after its compression (32MiB)."`
	MaxImages  int           `default:"32" env:"VGG_MAX_IMAGES" placeholder:"N" help:"Most images of one request (32)."`
	Timeout    time.Duration `default:"30s" env:"VGG_TIMEOUT" placeholder:"TIME" help:"Longest time of a request (30s)."`
	Cache      size          `default:"32MiB" env:"VGG_CACHE" placeholder:"SIZE" help:"Memory for answers that are given again to the same question (32MiB)."`
	NoCache    bool          `env:"VGG_NO_CACHE" help:"Compute every answer anew."`
	Drain      time.Duration `default:"30s" env:"VGG_DRAIN" placeholder:"TIME" help:"Time that requests have to end after SIGTERM (30s)."`
	Plan       bool          `help:"Print the memory that the service takes at most, and end."`
	modelFlags
	storageFlag
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
  - Every flag of the service can be given in the environment, as VGG_ADDR is for --addr.

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
	listener, err := c.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	return c.serve(e, listener, sources, folder, limits)
}

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
	l.Bodies = max(l.Bodies, 4*l.Body)
	return l, nil
}

// served is a model of the command line.
type served struct {
	server.Source
	path string
}

// sources returns the models, or the folder that is watched for them.
func (c *serveCommand) sources(e *environment, threads int) (list []served, folder string, err error) {
	named := c.Weights
	if len(named) == 0 {
		latest, err := latestRun(c.Runs)
		if err != nil {
			return nil, "", err
		}
		named = []string{latest}
	}
	if len(named) == 1 {
		if info, err := os.Stat(named[0]); err == nil && info.IsDir() {
			if list, err = c.inFolder(e, named[0], threads); err != nil {
				return nil, "", err
			}
			if list != nil {
				return list, named[0], nil
			}
		}
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return nil, "", err
	}
	for _, text := range named {
		name, file, ok := strings.Cut(text, "=")
		if !ok || strings.ContainsAny(name, `/\`) {
			name, file = "", text
		}
		path, err := open.path(file)
		if err != nil {
			return nil, "", err
		}
		if name == "" {
			name = modelName(file)
		}
		list = append(list, c.source(open, name, path))
	}
	for i, s := range list {
		if slices.ContainsFunc(list[:i], func(o served) bool { return o.Name == s.Name }) {
			return nil, "", usagef("two models are called %s: name one otherwise, as in other=%s", s.Name, s.path)
		}
	}
	return list, "", nil
}

// source returns a model that is read with the options of the flags.
func (c *serveCommand) source(open *opener, name, path string) served {
	options := open.options
	return served{server.Source{
		Name: name,
		Open: func(ctx context.Context) (*vgg.Model, error) {
			m, err := vgg.Open(ctx, path, options)
			if err != nil {
				return nil, notWeights(path, err)
			}
			if open.threads > 0 {
				m.Net.SetThreads(open.threads)
			}
			return m, nil
		},
		Stamp: func() (string, error) { return stampOf(path) },
	}, path}
}

// stampOf tells a file from another that has taken its place.
func stampOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano()), nil
}

// modelName returns the name of a model without another.
func modelName(file string) string {
	base := filepath.Base(file)
	if base == train.BestFile || base == "last.safetensors" { // of a run: the run's name tells more
		if dir := filepath.Base(filepath.Dir(file)); dir != "." && dir != string(filepath.Separator) {
			return dir
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(base, filepath.Ext(base)), ".weights")
}

// inFolder returns the models of a folder: its files of weights.
func (c *serveCommand) inFolder(e *environment, dir string, threads int) ([]served, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return nil, err
	}
	var list []served
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || !weightsName(entry.Name()) {
			continue
		}
		s := c.source(open, modelName(path), path)
		if !slices.ContainsFunc(list, func(o served) bool { return o.Name == s.Name }) {
			list = append(list, s)
		}
	}
	return list, nil
}

// weightsName tells whether a file's name is that of weights.
func weightsName(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".safetensors", ".pth", ".pt", ".h5", ".keras", ".onnx", ".npz", ".mat", ".caffemodel":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// latestRun returns the network that vgg train left last.
func latestRun(runs string) (string, error) {
	entries, err := os.ReadDir(runs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	best, when := "", time.Time{}
	for _, entry := range entries {
		path := filepath.Join(runs, entry.Name(), train.BestFile)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.ModTime().After(when) {
			best, when = path, info.ModTime()
		}
	}
	if best == "" {
		return "", usagef("no model: name a file of weights (vgg serve best.safetensors) or a public release (vgg serve D), or train a network first (vgg train), whose weights are then found in %s", runs)
	}
	return best, nil
}

// servePlan has the JSON keys of `vgg serve --plan --json`.
type servePlan struct {
	Models []servePlanModel `json:"models"`
	Passes int64            `json:"passes_bytes"` // the largest pass, of one model at a time
	Queues int64            `json:"queues_bytes"`
	Bodies int64            `json:"bodies_bytes"`
	Decode int64            `json:"decoding_bytes"`
	Cache  int64            `json:"cache_bytes"`
	Bytes  int64            `json:"bytes"` // in all, with a second copy of the largest model while it is reloaded
}

type servePlanModel struct {
	Name       string `json:"name"`
	Parameters int64  `json:"parameters_bytes"`
	Pass       int64  `json:"pass_bytes"` // of a full batch of crops
}

// plan estimates the memory of the service.
func (c *serveCommand) plan(e *environment, list []served, folder string, limits server.Limits, threads int) (servePlan, error) {
	p := servePlan{Models: []servePlanModel{}, Bodies: limits.Bodies, Decode: limits.Decoding, Cache: max(limits.Answers, 0)}
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return p, err
	}
	var largest int64
	for _, s := range list {
		d, err := describe(e.ctx, s.path, open.options)
		if err != nil {
			if folder != "" { // others of the folder are served
				fmt.Fprintf(e.stderr, "%s: %v\n", s.path, err)
				continue
			}
			return p, err
		}
		d.Options.FCStorage = c.FCWeights
		one, err := network.EstimateMemory(d.Options, 1, threads)
		if err != nil {
			return p, err
		}
		full, err := network.EstimateMemory(d.Options, c.MaxBatch, threads)
		if err != nil {
			return p, err
		}
		chain, err := network.Plan(d.Options)
		if err != nil {
			return p, err
		}
		pass, err := chain.InferenceFloats(c.MaxBatch, d.Options.Input, d.Options.Input)
		if err != nil {
			return p, err
		}
		m := servePlanModel{Name: s.Name, Pass: 4 * int64(pass)}
		m.Parameters = min(one.Inference, full.Inference-m.Pass)
		p.Models = append(p.Models, m)
		p.Bytes += m.Parameters
		largest = max(largest, m.Parameters)
		p.Passes = max(p.Passes, limits.Pass)
		p.Queues += int64(limits.Queue) * int64(d.Options.Input*d.Options.Input*3*4)
	}
	p.Bytes += largest + p.Passes + p.Queues + p.Bodies + p.Decode + p.Cache
	return p, nil
}

// describe tells what a file of weights holds.
func describe(ctx context.Context, path string, o vgg.OpenOptions) (*vgg.Description, error) {
	f, err := openWeights(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return vgg.Identify(ctx, f, o)
}

func (p servePlan) print(e *environment, asJSON bool) error {
	if asJSON {
		return writeJSON(e.stdout, p)
	}
	t := report.NewTable(left("Memory"), right("At most"))
	for _, m := range p.Models {
		t.Row("parameters of "+m.Name, report.Bytes(m.Parameters))
	}
	t.Row("a model that is read anew", report.Bytes(p.Bytes-p.sum()))
	t.Row("passes", report.Bytes(p.Passes))
	t.Row("images that wait", report.Bytes(p.Queues))
	t.Row("bodies of requests", report.Bytes(p.Bodies))
	t.Row("pictures that are decoded", report.Bytes(p.Decode))
	t.Row("answers that are kept", report.Bytes(p.Cache))
	t.Row("in all", report.Bytes(p.Bytes))
	_, err := fmt.Fprintln(e.stdout, t)
	return err
}

// sum is all but the second copy of a model.
func (p servePlan) sum() int64 {
	n := p.Passes + p.Queues + p.Bodies + p.Decode + p.Cache
	for _, m := range p.Models {
		n += m.Parameters
	}
	return n
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
	o := server.Options{
		Limits: limits, MaxBatch: c.MaxBatch, MaxDelay: c.MaxDelay, Hosts: c.hosts(listener), AllowLoad: c.AllowLoad, Version: programVersion(), Log: log,
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
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go h.Serve(l)
	return h, nil
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
		fmt.Fprintf(e.stdout, "Serving %s at %s\n\nTry: curl -T photo.jpg %s/v1/classify\n", strings.Join(s.Models(), ", "), address, address)
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
			for _, name := range s.Models() {
				_ = s.Reload(e.ctx, name) // told in the log; the old network stays
			}
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

// watchedFile is what a file holds, read again when the file changes. A file that can't be
// read leaves what was read before.
type watchedFile[T any] struct {
	path string
	read func() (T, error)
	log  *slog.Logger

	mu     sync.Mutex
	value  T
	stamp  string
	looked time.Time
}

func (f *watchedFile[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < time.Second {
		return f.value, nil
	}
	f.looked = time.Now()
	stamp, err := stampOf(f.path)
	if err == nil && stamp == f.stamp {
		return f.value, nil
	}
	first := f.stamp == ""
	var value T
	if err == nil {
		value, err = f.read()
	}
	if err != nil {
		if first {
			f.looked = time.Time{}
			return f.value, err
		}
		f.log.Error("a file can't be read, what it held before stays", "file", f.path, "error", err.Error())
		return f.value, nil
	}
	f.value, f.stamp = value, stamp
	return f.value, nil
}
