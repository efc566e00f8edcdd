package pjrt

import (
	"bytes"
	"testing"
)

// TestCompileOptions compares with what protoc --encode=xla.CompileOptionsProto makes of the
// same messages, as the field numbers of compile_options.proto and xla_data.proto say.
func TestCompileOptions(t *testing.T) {
	unset := "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" // device_ordinal: -1
	for _, test := range []struct {
		o    CompileOptions
		want string
	}{
		{CompileOptions{}, "\x1a\x0f" + unset + "\x20\x01\x28\x01"},
		{CompileOptions{Replicas: 4}, "\x1a\x0f" + unset + "\x20\x04\x28\x01"},
		{
			CompileOptions{Devices: []*Device{{Description: Description{ID: 3}}, {Description: Description{ID: 200}}}},
			"\x1a\x1c" + unset + "\x20\x02\x28\x01" + "\x4a\x0b\x08\x02\x10\x01\x1a\x05\x0a\x03\x03\xc8\x01",
		},
		{
			CompileOptions{Flags: map[string]any{"b": true, "a": 5, "c": "x", "d": 0.5, "e": false}},
			"\x1a\x0f" + unset + "\x20\x01\x28\x01" +
				"\x3a\x07\x0a\x01a\x12\x02\x18\x05" + "\x3a\x07\x0a\x01b\x12\x02\x10\x01" + "\x3a\x08\x0a\x01c\x12\x03\x0a\x01x" +
				"\x3a\x0e\x0a\x01d\x12\x09\x21\x00\x00\x00\x00\x00\x00\xe0\x3f" + "\x3a\x07\x0a\x01e\x12\x02\x10\x00",
		},
	} {
		got, err := test.o.encode(map[string]any{})
		if err != nil || !bytes.Equal(got, []byte(test.want)) {
			t.Errorf("%+v:\n%x, %v, want\n%x", test.o, got, err, test.want)
		}
	}
	got, err := CompileOptions{Flags: map[string]any{"a": 1}}.encode(map[string]any{"a": 2, "b": 3})
	if want := "\x1a\x0f" + unset + "\x20\x01\x28\x01\x3a\x07\x0a\x01a\x12\x02\x18\x01\x3a\x07\x0a\x01b\x12\x02\x18\x03"; err != nil || string(got) != want {
		t.Errorf("with defaults: %x, %v, want %x", got, err, want)
	}
	for _, wrong := range []CompileOptions{{Replicas: 2, Devices: []*Device{{}}}, {Replicas: -1}, {Flags: map[string]any{"a": uint8(1)}}} {
		if _, err := wrong.encode(nil); err == nil {
			t.Errorf("%+v is encoded", wrong)
		}
	}
}
