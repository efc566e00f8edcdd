// Command load asks a running `vgg serve` by many clients at once:
//
//	load throughput URL PICTURE   pictures a second at 1, 8 and 64 clients
//	load overload URL PICTURE     four times the capacity for a minute
//	load slow URL PICTURE         10,000 clients that send byte by byte, beside a fast one
//	load many URL PICTURE         100,000 requests: memory and goroutines before and after
//	load reload URL PICTURE SERVED GOOD...   the file SERVED is replaced a hundred times
//
// Start the service with --no-cache, or the answers are those that it has kept. URL may be one
// of another server that takes a picture by PUT. With -tensor SIDE it is that of an inference,
// http://…/v2/models/D/infer, which is sent preprocessed pixels in place of PICTURE. It prints a line of JSON for each measurement,
// and exits with 1 where an answer was wrong. docs/serving.md has the commands of its figures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// settings are the flags of all measurements.
type settings struct {
	url, picture string
	data         []byte
	time         time.Duration
	clients      int
	requests     int
	reloads      int
	rate         float64 // requests a second; 0: four times what the service was found to do
	concurrency  []int
	tensor       int      // side of the tensor that is sent in place of a picture; 0: none
	header       int      // bytes of the JSON before a tensor
	files        []string // of reload: the served file, and those that take its place
	out          *json.Encoder
}

func run(ctx context.Context, args []string, out io.Writer) error {
	const usage = "want throughput, overload, slow, many or reload, a URL and a picture"
	if len(args) == 0 {
		return errors.New(usage)
	}
	s := settings{out: json.NewEncoder(out)}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.DurationVar(&s.time, "time", 20*time.Second, "length of a measurement")
	flags.IntVar(&s.clients, "clients", 10_000, "slow clients")
	flags.IntVar(&s.requests, "requests", 100_000, "requests of many")
	flags.IntVar(&s.reloads, "reloads", 100, "replacements of the served file")
	flags.Float64Var(&s.rate, "rate", 0, "requests a second of overload (four times the capacity)")
	flags.IntVar(&s.tensor, "tensor", 0, "side of a tensor that is sent to an inference's URL, in place of PICTURE")
	concurrency := flags.String("concurrency", "1,8,64", "numbers of clients of throughput")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	for _, text := range strings.Split(*concurrency, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-concurrency %q, want whole numbers from 1 on", text)
		}
		s.concurrency = append(s.concurrency, n)
	}
	if flags.NArg() < 1 || s.tensor == 0 && flags.NArg() < 2 {
		return errors.New(usage)
	}
	s.url = strings.TrimSuffix(flags.Arg(0), "/")
	if s.tensor > 0 {
		s.header, s.data = tensorBody(s.tensor)
		s.files = flags.Args()[1:]
	} else {
		s.picture, s.files = flags.Arg(1), flags.Args()[2:]
		var err error
		if s.data, err = os.ReadFile(s.picture); err != nil {
			return err
		}
	}
	measure, ok := map[string]func(context.Context) error{
		"throughput": s.throughput, "overload": s.overload, "slow": s.slow, "many": s.many, "reload": s.reload,
	}[args[0]]
	if !ok {
		return errors.New(usage)
	}
	return measure(ctx)
}
