package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// golden compares text with a file in testdata, and rewrites it under -update.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, text, want)
	}
}

func TestTableGolden(t *testing.T) {
	// The ends of configuration D as the report on the paper lists it.
	layers := []Layer{
		{"conv1_1", "conv3-64", []int{64, 224, 224}, 1_728, 64, 86_704_128},
		{"conv1_2", "conv3-64", []int{64, 224, 224}, 36_864, 64, 1_849_688_064},
		{"pool1", "maxpool", []int{64, 112, 112}, 0, 0, 0},
		{"fc6", "FC-4096", []int{4096}, 102_760_448, 4096, 102_760_448},
		{"fc8", "FC-1000", []int{1000}, 4_096_000, 1000, 4_096_000},
	}
	classes := []Class{
		{"Leopards", 10, 0, 0, ""},
		{"grand_piano", 1010, 0.2, 0.05, "ketch"},
		{"アヤメ", 10, 1, 0.5, "sunflower"}, // wide characters
		{"Café", 3, 1.0 / 3, 0, "Leopards"},
		{"none\x1b[2J\n", 0, 0, 0, ""},
	}
	mistakes := []Mistake{
		{"val/ketch/image_0042.jpg", "ketch", "airplanes", 0.99874, 7},
		{"val/watch/image_0001.jpg", "watch", "starfish", 0.61, 1002},
	}
	for name, table := range map[string]*Table{
		"layers.txt":   LayerTable(layers),
		"classes.txt":  ClassTable(classes),
		"mistakes.txt": MistakeTable(mistakes),
		"empty.txt":    MistakeTable(nil),
	} {
		golden(t, name, table.String())
		var b strings.Builder
		n, err := table.WriteTo(&b)
		if err != nil || b.String() != table.String() || n != int64(b.Len()) {
			t.Errorf("%s: WriteTo wrote %d bytes, error %v, other than String", name, n, err)
		}
	}
}

func TestTableReportsWriteError(t *testing.T) {
	if _, err := NewTable(Column{Title: "x"}).WriteTo(fullDisk{}); err == nil {
		t.Error("a failed write was not reported")
	}
}

func TestRowPanicsOnTooManyCells(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a row of two cells went into a table of one column")
		}
	}()
	NewTable(Column{Title: "x"}).Row("a", "b")
}

func TestFormats(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{Count(0), "0"},
		{Count(999), "999"},
		{Count(1728), "1,728"},
		{Count(-1728), "-1,728"},
		{Count(-100), "-100"},
		{Count(102760448), "102,760,448"},
		{Count(-1 << 63), "-9,223,372,036,854,775,808"},
		{Bytes(0), "0 B"},
		{Bytes(1023), "1023 B"},
		{Bytes(1024), "1.0 KiB"},
		{Bytes(1536), "1.5 KiB"},
		{Bytes(1<<20 - 1), "1.0 MiB"},
		{Bytes(553430176), "527.8 MiB"},
		{Bytes(3 << 30), "3.0 GiB"},
		{Bytes(1<<63 - 1), "8.0 EiB"},
		{Bytes(-1536), "-1.5 KiB"},
		{Duration(0), "0 µs"},
		{Duration(250 * time.Microsecond), "250 µs"},
		{Duration(39600 * time.Microsecond), "40 ms"},
		{Duration(999600 * time.Microsecond), "1.0 s"},
		{Duration(12340 * time.Millisecond), "12.3 s"},
		{Duration(59960 * time.Millisecond), "1m 00s"},
		{Duration(151 * time.Second), "2m 31s"},
		{Duration(time.Hour - 1), "1h 00m"},
		{Duration(62 * time.Minute), "1h 02m"},
		{Duration(-time.Minute), "-1m 00s"},
		{Percent(0), "0.0 %"},
		{Percent(0.2704), "27.0 %"},
		{Percent(1), "100.0 %"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
