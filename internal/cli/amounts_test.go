package cli

import "testing"

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{
		"8GiB": 8 << 30, "8 gib": 8 << 30, "1.5MiB": 3 << 19, "500MB": 500e6, "4KB": 4000, "2TiB": 2 << 40, "1TB": 1e12, "17": 17, "17B": 17, "1KiB": 1024, "3GB": 3e9,
	} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "0", "-1GiB", "8Gi", "NaN", "infGiB", "1e30", "8 GiB x"} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %d, want an error", text, s)
		}
	}
}

func TestShares(t *testing.T) {
	for text, want := range map[string]share{"0.5%": 0.005, "100 %": 1, "0": 0, "0.25": 0.25, "1": 1} {
		var s share
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %v, %v, want %v", text, s, err, want)
		}
	}
	for _, text := range []string{"", "%", "101%", "-1%", "1.5", "NaN", "few"} {
		var s share
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %v, want an error", text, s)
		}
	}
}
