package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/nn"
)

// netSpec is a file of weights with what the command line says of it.
type netSpec struct {
	file     string
	scales   []int          // nil: as the flags say
	protocol *eval.Protocol // nil: as the flags say
}

// netSuffix is what may stand behind a file of weights: @256,384,512, @:dense or
// @256,384,512:dense.
var netSuffix = regexp.MustCompile(`^(.+)@([0-9]+(?:,[0-9]+)*)?(?::([a-z-]+))?$`)

// parseNet reads WEIGHTS[@Q,Q…[:PROTOCOL]]. What is a file as it stands has no suffix.
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

// opener opens a network of an evaluation, and keeps it until another is opened.
type opener struct {
	fc       nn.Storage
	threads  int
	file     string
	model    *vgg.Model
	headless bool // networks without classes are welcome
	// What the command line says of weights that don't tell all; nil: nothing.
	flags *modelFlags
	env   *environment
}

func (o *opener) open(file string) (*vgg.Model, error) {
	if o.file == file {
		return o.model, nil
	}
	o.file, o.model = "", nil // let the old one go before the new one comes
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

// net is what package eval needs to know of a file of weights.
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
	if n.SHA256, err = fileSHA256(path); err != nil {
		return n, err
	}
	return n, nil
}

// fileSHA256 hashes a file.
func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
