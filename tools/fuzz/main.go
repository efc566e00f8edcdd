// Fuzz runs the module's fuzz targets, one after the other unless -beside says more at a time,
// and tells how many inputs each ran.
//
//	go run ./tools/fuzz [-time 10s] [-total 1h] [-least 5000] [-run REGEXP] [-corpus FOLDER] [-beside 2 -parallel 1]
//
// Inputs that reach new code are kept in the corpus folder, outside the repository, and the
// next run begins with them. So are the numbers of inputs, in inputs.json, and their sum is
// printed. New code is that of this module: what an input reaches in the standard library
// isn't counted, which makes an input several times cheaper. An input that makes a target fail is
// written below the package's testdata/fuzz, where go test runs it from then on. A target that has
// run fewer inputs than -least goes on, for up to four times its time. The exit code is 1 if a
// target failed or ran fewer inputs than -least, 2 on a wrong use.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"
)

func main() {
	log.SetFlags(0)
	o := options{out: os.Stdout}
	run := flag.String("run", "", "only the targets whose package and name match, as in weights.FuzzONNX")
	flag.DurationVar(&o.time, "time", 10*time.Second, "how long each target runs")
	flag.DurationVar(&o.total, "total", 0, "run all targets again and again for so long (once)")
	flag.Int64Var(&o.least, "least", 0, "inputs that a target runs at least, for up to four times its time")
	flag.StringVar(&o.corpus, "corpus", "", "folder of inputs that are kept (the user's cache)")
	flag.IntVar(&o.beside, "beside", 1, "targets at a time")
	flag.IntVar(&o.parallel, "parallel", 0, "processes of a target (the number of cores)")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Printf("unexpected argument %q", flag.Arg(0))
		os.Exit(2)
	}
	var err error
	if o.run, err = regexp.Compile(*run); err != nil {
		log.Printf("-run: %v", err)
		os.Exit(2)
	}
	if o.corpus == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			log.Printf("%v; name a folder with -corpus", err)
			os.Exit(2)
		}
		o.corpus = filepath.Join(cache, "vgg", "fuzz")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := o.fuzz(ctx); err != nil {
		if !errors.Is(err, errFailed) {
			log.Print(err)
		}
		fmt.Fprintln(os.Stderr, "fuzz: failed")
		os.Exit(1)
	}
}
