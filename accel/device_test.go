package accel

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

// clientOf stands for a client with devices of some kinds.
func clientOf(platform string, kinds ...string) *pjrt.Client {
	c := &pjrt.Client{Platform: platform}
	for i, kind := range kinds {
		c.Devices = append(c.Devices, &pjrt.Device{Description: pjrt.Description{ID: i, Kind: kind}, Client: c})
	}
	return c
}

func TestID(t *testing.T) {
	for want, d := range map[string]*Device{
		"cpu f32":                 {client: clientOf("cpu", "cpu", "cpu"), precision: F32},
		"cuda NVIDIA A100 bf16":   {client: clientOf("cuda", "NVIDIA A100", "NVIDIA A100"), precision: BF16},
		"cuda NVIDIA H100 bf16":   {client: clientOf("cuda", "NVIDIA H100"), precision: BF16},
		"cuda B200 and H100 tf32": {client: clientOf("cuda", "H100", "B200", "H100"), precision: TF32},
	} {
		d.devices = d.client.Devices
		if got := d.ID(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestNewClient opens plugins that this machine doesn't have: of GPUs only those asked for are
// taken, by whatever name the user gave, and too few are told as such.
func TestNewClient(t *testing.T) {
	refused := &pjrt.Error{Code: pjrt.InvalidArgument, Function: "PJRT_Client_Create", Message: "unexpected option"}
	noDriver := &pjrt.Error{Code: pjrt.FailedPrecondition, Function: "PJRT_Client_Create", Message: "no driver"}
	// gpus has a number of GPUs. It takes numbers that it doesn't have for an error, or leaves them out.
	gpus := func(n int, strict bool) func(pjrt.Settings) (*pjrt.Client, error) {
		return func(s pjrt.Settings) (*pjrt.Client, error) {
			visible, chosen := s["visible_devices"].([]int64)
			if !chosen {
				return clientOf("cuda", slices.Repeat([]string{"GPU"}, n)...), nil
			}
			var kinds []string
			for _, i := range visible {
				if int(i) < n {
					kinds = append(kinds, "GPU")
				} else if strict {
					return nil, refused
				}
			}
			if len(kinds) == 0 {
				return nil, noDriver
			}
			return clientOf("cuda", kinds...), nil
		}
	}
	processor := func(s pjrt.Settings) (*pjrt.Client, error) {
		count := defaultCPUs
		for name, value := range s {
			if name != "cpu_device_count" {
				return nil, refused
			}
			count = value.(int)
		}
		return clientOf("cpu", slices.Repeat([]string{"cpu"}, count)...), nil
	}
	broken := func(pjrt.Settings) (*pjrt.Client, error) { return nil, noDriver }
	for name, test := range map[string]struct {
		open         func(pjrt.Settings) (*pjrt.Client, error)
		platform     string
		first, count int
		asked        string // the options, one call after the other
		devices      int
		chosen       bool
		err          string
	}{
		"a GPU":                  {gpus(4, true), "cuda", 0, 1, "map[visible_devices:[0]]", 1, true, ""},
		"a GPU by path":          {gpus(4, true), "", 2, 2, "map[visible_devices:[2 3]]", 2, true, ""},
		"too few GPUs":           {gpus(2, true), "cuda", 0, 4, "map[visible_devices:[0 1 2 3]] map[preallocate:false]", 0, false, "4 devices, and cuda has 2"},
		"too few by path":        {gpus(2, true), "", 0, 4, "map[visible_devices:[0 1 2 3]] map[preallocate:false]", 0, false, "4 devices, and cuda has 2"},
		"none left":              {gpus(2, false), "cuda", 2, 1, "map[visible_devices:[2]] map[preallocate:false]", 0, false, "1 devices from number 2 on, and cuda has 2"},
		"a processor by path":    {processor, "", 0, 2, "map[visible_devices:[0 1]] map[preallocate:false] map[]", 4, false, ""},
		"a processor, not a GPU": {processor, "cuda", 0, 1, "map[visible_devices:[0]] map[preallocate:false] map[]", 4, false, ""},
		"a large processor":      {processor, "cpu", 0, 6, "map[cpu_device_count:6]", 6, false, ""},
		"no driver":              {broken, "cuda", 0, 1, "map[visible_devices:[0]] map[preallocate:false]", 0, false, noDriver.Error()},
	} {
		var asked []string
		client, chosen, err := newClient(func(s pjrt.Settings) (*pjrt.Client, error) {
			asked = append(asked, fmt.Sprint(map[string]any(s)))
			return test.open(s)
		}, test.platform, test.first, test.count)
		if got := strings.Join(asked, " "); got != test.asked {
			t.Errorf("%s: asked for %s, want %s", name, got, test.asked)
		}
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", name, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(client.Devices) != test.devices || chosen != test.chosen {
			t.Errorf("%s: %d devices, chosen %v, want %d, %v", name, len(client.Devices), chosen, test.devices, test.chosen)
		}
	}
}

// TestOpenWrongPlatform: a plugin for something else is told as such, not by the options that it
// refuses.
func TestOpenWrongPlatform(t *testing.T) {
	path := xla.Plugin(t).Path
	d, err := Open(Options{Plugin: path})
	if err != nil {
		t.Fatal(err)
	}
	platform := d.client.Platform
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"cuda", "rocm", "tpu"} {
		if other == platform {
			continue
		}
		_, err := Open(Options{Plugin: path, Platform: other})
		if want := fmt.Sprintf("is a plugin for %s, not for %s", platform, other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
