package pjrt

import (
	"fmt"
	"strings"
	"testing"
)

// TestLook: no plugin is opened without options before it refused those that spare memory.
func TestLook(t *testing.T) {
	for option, want := range map[string]string{
		"preallocate":      "map[preallocate:false]",
		"cpu_device_count": "map[preallocate:false] map[cpu_device_count:1]",
		"of its own":       "map[preallocate:false] map[cpu_device_count:1] map[]",
	} {
		var asked []string
		c, err := look(func(s Settings) (*Client, error) {
			asked = append(asked, fmt.Sprint(map[string]any(s)))
			for name := range s {
				if name != option {
					return nil, &Error{Code: InvalidArgument, Message: "unexpected option"}
				}
			}
			return &Client{}, nil
		})
		if got := strings.Join(asked, " "); c == nil || err != nil || got != want {
			t.Errorf("a plugin with the option %s: asked for %s, want %s; %v, %v", option, got, want, c, err)
		}
	}
	calls := 0
	_, err := look(func(Settings) (*Client, error) {
		calls++
		return nil, &Error{Code: FailedPrecondition, Message: "no driver"}
	})
	if calls != 1 || !IsCode(err, FailedPrecondition) {
		t.Errorf("a driver that fails: %d calls, %v", calls, err)
	}
}
