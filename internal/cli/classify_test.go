package cli_test

import "testing"

// TestClassifyOne: a picture whose network stays in its file gets the answer that it gets among
// others, for which the network is read into memory.
func TestClassifyOne(t *testing.T) {
	classify := func(pictures ...string) string {
		t.Helper()
		args := append([]string{"classify", "../../testdata/compat/v0/net.safetensors", "--json"}, pictures...)
		stdout, stderr, code := program(t, args...)
		if code != 0 || stdout == "" {
			t.Fatalf("exit %d, %s%s", code, stdout, stderr)
		}
		return stdout
	}
	const a, b = "sample/val/sunflower/image_0041.jpg", "../../testdata/compat/v0/data/val/red/0.png"
	if one, two := classify(a)+classify(b), classify(a, b); one != two {
		t.Errorf("one by one %s, together %s", one, two)
	}
}
