package dataset

import "testing"

func TestJunk(t *testing.T) {
	for name, want := range map[string]string{
		"__MACOSX": "Mac metadata", "._a.jpg": "Mac metadata", ".DS_Store": "Mac metadata", "Icon\r": "Mac metadata",
		"Thumbs.db": "Windows thumbnails", "thumbs.db": "Windows thumbnails", "desktop.ini": "Windows settings",
		"$RECYCLE.BIN": "deleted files", "#recycle": "deleted files", "@eaDir": "NAS thumbnails", "System Volume Information": "Windows settings",
		".git": "hidden", ".a.jpg": "hidden",
		"a.jpg": "", "icon": "", "macosx": "", "thumbs.jpg": "", "recycle": "", "_a.jpg": "", "$5.jpg": "",
	} {
		if got := junk(name); got != want || hidden(name) != (want != "") {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// TestPassedOver has what a Mac, Windows and a NAS leave among images, of which none is
// an image or a class.
func TestPassedOver(t *testing.T) {
	dir := layout(t,
		"cat/a.jpg", "", "dog/b.jpg", "",
		"__MACOSX/cat/._a.jpg", "", "cat/._a.jpg", "", "cat/.DS_Store", "", ".DS_Store", "", "Thumbs.db", "",
		"@eaDir/SYNO@.fileindexdb", "", "cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "", "dog/Thumbs.db", "",
		"$RECYCLE.BIN/S-1-5-21/$R1.jpg", "", "dog/desktop.ini", "", "System Volume Information/IndexerVolumeGuid", "",
	)
	d, val, err := Open(t.Context(), dir, OpenOptions{})
	if err != nil || val != nil {
		t.Fatal(val, err)
	}
	if got := names(d); len(got) != 2 || got[0] != "cat/a.jpg=cat" || got[1] != "dog/b.jpg=dog" {
		t.Errorf("samples %v, want cat/a.jpg and dog/b.jpg", got)
	}
}
