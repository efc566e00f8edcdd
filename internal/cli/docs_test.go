package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumentedCommands: the command line takes every command of README and docs. Those of
// blocks are complete; those within a sentence may leave out arguments and flags.
func TestDocumentedCommands(t *testing.T) {
	root := filepath.Join("..", "..")
	blocks, inline := 0, 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		inside := false
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				inside = !inside
				continue
			}
			if inside {
				for _, args := range commandsOf(line) {
					blocks++
					if err := parse(args); err != nil {
						t.Errorf("%s:%d: vgg %s: %v", path, i+1, strings.Join(args, " "), err)
					}
				}
				continue
			}
			for _, code := range inlineCommand.FindAllStringSubmatch(line, -1) {
				if formatName.MatchString(code[1]) {
					continue
				}
				for _, args := range commandsOf(number.ReplaceAllString(code[1], " 1")) {
					inline++
					if err := parse(args); err != nil && !incomplete.MatchString(err.Error()) {
						t.Errorf("%s:%d: vgg %s: %v", path, i+1, strings.Join(args, " "), err)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if blocks < 50 || inline < 50 {
		t.Errorf("%d commands in blocks and %d in sentences, want at least 50 of each", blocks, inline)
	}
}

func TestCommandsOfALine(t *testing.T) {
	for line, want := range map[string][][]string{
		"vgg eval W --data photos   # errors":                {{"eval", "W", "--data", "photos"}},
		"./vgg index D a; ./vgg similar i.npy 'a b.jpg' > f": {{"index", "D", "a"}, {"similar", "i.npy", "a b.jpg"}},
		"for i in 1 2; do vgg train --seed $i; done":         {{"train", "--seed", "1"}},
		"go run ./cmd/vgg train && go test":                  {{"train"}},
		`VGG_CPU=go $CACHE/vgg summary "8 M FC"`:             {{"summary", "8 M FC"}},
		"go build -o vgg ./cmd/vgg":                          nil,
		"vgg: weights: a.npz: conv3_2_W: shape":              nil,
	} {
		if got := commandsOf(line); !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if err := parse([]string{"eval", "W", "--data", "photos", "--none"}); err == nil {
		t.Error("an unknown flag was taken")
	}
}

var (
	inlineCommand = regexp.MustCompile("`(vgg [a-z][^`]*)`")
	// formatName matches what a file begins with: vgg evaluation 1.
	formatName = regexp.MustCompile(`^vgg [a-z]+ [0-9]+$`)
	// number matches the letters that stand for a number.
	number = regexp.MustCompile(` [NGC]\b`)
	// incomplete matches the errors of a command without all it needs.
	incomplete = regexp.MustCompile(`^(missing flags|expected )|: expected (string|value) value but got "EOL"|: missing value|must be one of .* but got "[A-Z]+"$`)
)

// parse parses a command line and runs nothing.
func parse(args []string) error {
	parser, err := newParserOf(grammarOf(args), &environment{stderr: io.Discard}, io.Discard, func(int) {})
	if err != nil {
		return err
	}
	if slices.Contains(args, "--help") {
		return errors.New("--help in a document")
	}
	_, err = parser.Parse(args)
	return err
}

// commandsOf returns the arguments of each call of vgg in a line of a shell. A variable
// stands for 1.
func commandsOf(line string) [][]string {
	var found [][]string
	var words []string
	end := func() {
		for len(words) > 0 && (words[0] == "do" || regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0])) {
			words = words[1:]
		}
		switch {
		case len(words) > 3 && slices.Equal(words[:3], []string{"go", "run", "./cmd/vgg"}):
			found = append(found, words[3:])
		case len(words) > 1 && regexp.MustCompile(`^v\d`).MatchString(words[1]): // what the program says of its version
		case len(words) > 1 && (words[0] == "vgg" || strings.HasSuffix(words[0], "/vgg")):
			found = append(found, words[1:])
		}
		words = nil
	}
	word, started, quote, redirect := "", false, rune(0), false
	finish := func() {
		if started && !redirect {
			words = append(words, variable.ReplaceAllString(word, "1"))
		}
		if started {
			redirect = false
		}
		word, started = "", false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ':
			finish()
		case r == '#' && !started:
			end()
			return found
		case r == ';' || r == '&' || r == '|':
			finish()
			end()
		case r == '>' || r == '<':
			finish()
			redirect = true
		default:
			word, started = word+string(r), true
		}
	}
	finish()
	end()
	return found
}

var variable = regexp.MustCompile(`\$[a-z]+`)
