package dataset

import "strings"

// systemNames are the files and folders that operating systems and network storage put
// among people's own, in lower case, and what they are.
var systemNames = map[string]string{
	"__macosx":                  "Mac metadata",
	"icon\r":                    "Mac metadata",
	"thumbs.db":                 "Windows thumbnails",
	"ehthumbs.db":               "Windows thumbnails",
	"desktop.ini":               "Windows settings",
	"$recycle.bin":              "deleted files",
	"recycler":                  "deleted files",
	"#recycle":                  "deleted files",
	"@recycle":                  "deleted files",
	"system volume information": "Windows settings",
	"@eadir":                    "NAS thumbnails",
	"@__thumb":                  "NAS thumbnails",
	"lost+found":                "recovered files",
	"__pycache__":               "Python's cache",
}

// junk returns what kind of thing a file or folder is that is no part of a collection, by
// the last part of its name: one that its system hides or made itself. "" if it may be
// part of it. Every reader of folders and archives passes over these alike.
func junk(base string) string {
	switch {
	case base == ".ds_store" || base == ".DS_Store" || strings.HasPrefix(base, "._"):
		return "Mac metadata"
	case strings.HasPrefix(base, "."):
		return "hidden"
	}
	return systemNames[strings.ToLower(base)]
}

// hidden reports whether a file or folder of that name is passed over.
func hidden(base string) bool { return junk(base) != "" }
