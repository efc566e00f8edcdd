// Command vgg trains, evaluates and uses VGG networks.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/verydeep/vgg/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // so that a second signal kills
	cli.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
