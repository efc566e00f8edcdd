package cli

import (
	"reflect"
	"strings"
)

// grammarOf returns the commands that a command line can mean: the one that it names, alone,
// or all. To build the parser of all of them takes longer than many a command.
func grammarOf(args []string) any {
	if len(args) > 0 {
		all := reflect.TypeFor[commands]()
		for i := range all.NumField() {
			if f := all.Field(i); strings.ToLower(f.Name) == args[0] {
				return reflect.New(reflect.StructOf([]reflect.StructField{f})).Interface()
			}
		}
	}
	return &commands{}
}
