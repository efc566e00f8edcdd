package dataset

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/resources"
)

// surveyed is what a process has of a survey.
type surveyed struct {
	survey Survey
	kept   bool
	err    error
	heard  [][2]int64 // of the progress
}

// alwaysComputed is [ComputeSurvey] as [CachedSurvey] is called.
func alwaysComputed(ctx context.Context, d *Dataset, o StatsOptions) (Survey, bool, error) {
	s, err := ComputeSurvey(ctx, d, o)
	return s, false, err
}

// surveyTogether calls survey in several processes, which goroutines stand for. of gives the
// images and the options of a rank.
func surveyTogether(ctx context.Context, processes int, survey func(context.Context, *Dataset, StatsOptions) (Survey, bool, error), of func(rank int) (*Dataset, StatsOptions)) []surveyed {
	all := make([]surveyed, processes)
	var wg sync.WaitGroup
	for rank, g := range comm.Local(processes) {
		wg.Go(func() {
			s := &all[rank]
			d, o := of(rank)
			o.Processes, o.Progress = g, func(done, total int64) { s.heard = append(s.heard, [2]int64{done, total}) }
			if s.survey, s.kept, s.err = survey(ctx, d, o); s.err != nil {
				g.Abort(s.err)
			}
		})
	}
	wg.Wait()
	return all
}

// textual is a survey with the texts of its errors in their place, which is all that another
// process has of them.
func textual(s Survey) Survey {
	s.Unreadable = append([]BadImage(nil), s.Unreadable...)
	for i, b := range s.Unreadable {
		s.Unreadable[i].Err = errors.New(b.Err.Error())
	}
	return s
}

// Any number of processes has the survey of one, to the bit, and reads each image once.
func TestSurveyOfProcesses(t *testing.T) {
	defer goleak.VerifyNone(t)
	d, _ := pictures(t, 23, 4, 9, 22)
	want, err := ComputeSurvey(t.Context(), d, StatsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, processes := range []int{1, 2, 3, 23, 25} { // with 25 some have no image
		reads := make([]*countingFS, processes)
		all := surveyTogether(t.Context(), processes, alwaysComputed, func(rank int) (*Dataset, StatsOptions) {
			var d *Dataset
			d, reads[rank] = pictures(t, 23, 4, 9, 22)
			return d, StatsOptions{Workers: 1 + rank%3}
		})
		read := 0
		for rank, s := range all {
			if s.err != nil || s.kept || !reflect.DeepEqual(textual(s.survey), textual(want)) {
				t.Errorf("rank %d of %d: %+v, kept %v, %v; want %+v", rank, processes, s.survey, s.kept, s.err, want)
			}
			if n := len(s.heard); n == 0 || s.heard[n-1] != [2]int64{23, 23} {
				t.Errorf("rank %d of %d: progress %v, want the last 23 of 23", rank, processes, s.heard)
			}
			n := reads[rank].total()
			if most := (23 + processes - 1) / processes; n > most {
				t.Errorf("rank %d of %d reads %d images, want at most %d", rank, processes, n, most)
			}
			read += n
		}
		if read != 23 {
			t.Errorf("%d processes read %d images, want 23", processes, read)
		}
	}
}

// A survey that rank 0 finds kept is everybody's; one that isn't is kept by rank 0 alone.
func TestKeptSurveyOfProcesses(t *testing.T) {
	dir := onDisk(t, 8)
	others := t.TempDir()
	of := func(rank int) (*Dataset, StatsOptions) {
		return opened(t, dir), StatsOptions{CacheDir: filepath.Join(others, string(rune('0'+rank)))}
	}
	first := surveyTogether(t.Context(), 3, CachedSurvey, of)
	again := surveyTogether(t.Context(), 3, CachedSurvey, of)
	for rank := range 3 {
		if a, b := first[rank], again[rank]; a.err != nil || b.err != nil || a.kept || !b.kept || !reflect.DeepEqual(a.survey, b.survey) || len(b.heard) != 0 {
			t.Errorf("rank %d: %+v, then %+v; want the same, kept the second time", rank, a, b)
		}
	}
	if files, err := os.ReadDir(others); err != nil || len(files) != 0 {
		t.Errorf("files %v of surveys, want only that beside the images (%v)", files, err)
	}
}

// Where an image is unreadable for want of memory on one rank, the survey isn't kept.
func TestSurveyOfProcessesWithoutRoom(t *testing.T) {
	dir := onDisk(t, 8)
	for rank, s := range surveyTogether(t.Context(), 2, CachedSurvey, func(rank int) (*Dataset, StatsOptions) {
		o := StatsOptions{}
		if rank == 1 {
			o.Room = resources.NewRoom(1, 1)
		}
		return opened(t, dir), o
	}) {
		if s.err != nil || len(s.survey.Unreadable) != 4 {
			t.Errorf("rank %d: %+v, %v; want the images of rank 1 unreadable", rank, s.survey, s.err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, StatsFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the survey was kept (%v)", err)
	}
}

// hookedFS calls open before a file is opened.
type hookedFS struct {
	fs.FS
	open func(name string) error
}

func (h hookedFS) Open(name string) (fs.File, error) {
	if err := h.open(name); err != nil {
		return nil, err
	}
	return h.FS.Open(name)
}

// hooked is a set of pictures whose files are opened by way of open.
func hooked(t *testing.T, open func(name string) error) *Dataset {
	files := fstest.MapFS{}
	var samples []Sample
	for _, name := range []string{"0.png", "1.png", "2.png", "3.png"} {
		files[name] = &fstest.MapFile{Data: picture(9, 8, 1)}
		samples = append(samples, Sample{Name: name})
	}
	d, err := New("hooked", hookedFS{files, open}, []string{"a"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A survey ends in all processes when one is to stop, and by an error that isn't an image's.
func TestSurveyOfProcessesEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	told := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	groups := comm.Local(2)
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for rank, g := range groups {
		wg.Go(func() {
			mine, open := t.Context(), func(string) error { return nil }
			if rank == 1 {
				mine, open = ctx, func(string) error { cancel(told); return nil }
			}
			if _, errs[rank] = ComputeSurvey(mine, hooked(t, open), StatsOptions{Processes: g}); errs[rank] != nil {
				g.Abort(errs[rank])
			}
		})
	}
	wg.Wait()
	if !errors.Is(errs[0], context.Canceled) || !errors.Is(errs[1], told) {
		t.Errorf("rank 1 was told to stop: errors %v and %v", errs[0], errs[1])
	}
	for rank, s := range surveyTogether(t.Context(), 3, CachedSurvey, func(rank int) (*Dataset, StatsOptions) {
		return hooked(t, func(name string) error {
			if rank == 2 && name == "3.png" {
				return syscall.EMFILE
			}
			return nil
		}), StatsOptions{}
	}) {
		if s.err == nil || !strings.Contains(s.err.Error(), syscall.EMFILE.Error()) {
			t.Errorf("rank 2 can open no more files: error %v of rank %d", s.err, rank)
		}
	}
}

// The first unreadable image is named if none is readable, whichever rank reads it.
func TestSurveyOfProcessesWithoutImages(t *testing.T) {
	for rank, s := range surveyTogether(t.Context(), 2, CachedSurvey, func(rank int) (*Dataset, StatsOptions) {
		d, _ := pictures(t, 3, 0, 1, 2)
		return d, StatsOptions{}
	}) {
		if bad, ok := errors.AsType[*BadImage](s.err); !ok || bad.Index != 0 || !strings.Contains(s.err.Error(), "none of 3 images is readable; the first: a/000.png: ") {
			t.Errorf("rank %d: %v", rank, s.err)
		}
	}
}
