package cli

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// netSpec is a file of weights with its own scales and protocol.
type netSpec struct {
	file     string
	scales   []int          // nil: those of the flags
	protocol *eval.Protocol // nil: that of the flags
}

// netSuffix matches a file of weights with a suffix: @256,384,512, @:dense or
// @256,384,512:dense.
var netSuffix = regexp.MustCompile(`^(.+)@([0-9]+(?:,[0-9]+)*)?(?::([a-z-]+))?$`)

// parseNet reads WEIGHTS[@Q,Q…[:PROTOCOL]]. The name of an existing file has no suffix.
func parseNet(arg string) (netSpec, error) {
	if _, err := os.Lstat(arg); err == nil {
		return netSpec{file: arg}, nil
	}
	match := netSuffix.FindStringSubmatch(arg)
	if match == nil {
		return netSpec{file: arg}, nil
	}
	if match[2] == "" && match[3] == "" {
		return netSpec{}, usagef("%s: nothing behind the @, want scales, as @256,384,512, a protocol, as @:dense, or both", arg)
	}
	spec := netSpec{file: match[1]}
	if match[2] != "" {
		for q := range strings.SplitSeq(match[2], ",") {
			n, err := strconv.Atoi(q)
			if err != nil {
				return netSpec{}, usagef("%s: scale %s, want a number of pixels", arg, q)
			}
			spec.scales = append(spec.scales, n)
		}
	}
	if match[3] != "" {
		p, err := eval.ParseProtocol(match[3])
		if err != nil {
			return netSpec{}, usageError{fmt.Errorf("%s: %w", arg, err)}
		}
		spec.protocol = &p
	}
	return spec, nil
}

// opener opens networks, and keeps one until another is opened.
type opener struct {
	fc       nn.Storage
	threads  int
	file     string
	model    *vgg.Model
	headless bool // networks without classes are welcome
	// flags completes what weights don't say about themselves; nil: nothing.
	flags *modelFlags
	env   *environment
}

// open returns the network of a file of weights, the one in memory if it is that.
func (o *opener) open(file string) (*vgg.Model, error) {
	if o.file == file {
		return o.model, nil
	}
	o.file, o.model = "", nil // free the old network before the new one is read
	m, err := o.read(file)
	if err != nil {
		return nil, err
	}
	m.Net.SetThreads(o.threads)
	o.file, o.model = file, m
	return m, nil
}

func (o *opener) read(file string) (*vgg.Model, error) {
	if o.flags != nil && o.headless {
		return o.flags.openAny(o.env, file, o.fc)
	}
	if o.flags != nil {
		return o.flags.open(o.env, file, o.fc)
	}
	return openWeights(o.env, file, vgg.OpenOptions{FCStorage: o.fc})
}

// identify describes a file of weights that open accepts, without reading the weights.
func (o *opener) identify(file string) (*vgg.Description, error) {
	options, err := o.flags.options()
	if err != nil {
		return nil, err
	}
	d, _, err := o.flags.describe(o.env, file, options)
	if err != nil {
		return nil, err
	}
	if d.Localisation != nil || d.Options.Headless() && !o.headless {
		if _, err := o.open(file); err != nil { // says why the network is refused
			return nil, err
		}
	}
	return d, nil
}

// net describes a file of weights for package eval, with the hash of the file if hashed is
// set.
func (o *opener) net(file string, s eval.Setting, hashed bool) (eval.Net, error) {
	n := eval.Net{Weights: file, FCWeights: o.fc, Setting: s, Open: func() (*vgg.Model, error) { return o.open(file) }}
	if !hashed {
		return n, nil
	}
	path := file
	if o.flags != nil {
		var err error
		if path, err = o.flags.path(o.env, file); err != nil {
			return n, err
		}
	}
	var err error
	n.SHA256, err = fileSHA256(o.env.ctx, path)
	return n, err
}

// identified is net with the description of the file, by which all checks go.
func (o *opener) identified(file string, s eval.Setting, hashed bool) (eval.Net, error) {
	d, err := o.identify(file)
	if err != nil {
		return eval.Net{}, err
	}
	n, err := o.net(file, s, hashed)
	n.Description = d
	return n, err
}

// fileSHA256 returns the SHA-256 of a file of weights, in hexadecimal.
func fileSHA256(ctx context.Context, path string) (string, error) {
	f, err := weights.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return f.SHA256(ctx)
}
