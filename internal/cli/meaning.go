package cli

import (
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// meaning matches the beginning of a help text, which says what a flag means; what follows
// says how a command uses it.
var meaning = regexp.MustCompile(`^[^:;,.(]*`)

// meaningOf returns what a flag means, in every command.
func meaningOf(v *kong.Value) string { return strings.TrimSpace(meaning.FindString(v.Help)) }
