package dataset

// Source is what [Open] understood of a collection.
type Source struct {
	// Layout says in words how the images lie: "class folders", "ILSVRC", "labels.csv" …
	Layout string
	// Parts are the parts that were found, those that aren't used as well.
	Parts []Part
	// Skipped counts by kind what lies among the images and isn't used: files by their
	// extension (".txt"), "empty" ones, "run of vgg", "link to a folder round it" …
	Skipped map[string]int
	// Special names those that are no regular files, from the collection's folder on.
	Special []string
	// Unread names pictures of formats that aren't read, such as HEIC, a sentence for each
	// format, with what converts them.
	Unread []string
	// Empty names the class folders without images.
	Empty []string
	// Notes are further sentences for the user.
	Notes []string
}

// Part is a part of a collection.
type Part struct {
	Name   string // train, val or test; "" if the collection has no parts
	Folder string // or file, or column's value; as it is called there
	Images int
	Used   bool // it is one of the datasets that Open returned
}

// finish completes what is known of the collection and attaches it to its parts.
func (s *search) finish(train, val *Dataset) {
	src := &s.source
	src.Unread = s.describeUnread()
	if src.Layout == "" {
		src.Layout = layoutFolders
	}
	used := 0
	for _, p := range src.Parts {
		if p.Used {
			used++
		}
	}
	for _, d := range []*Dataset{train, val} {
		if d == nil {
			continue
		}
		d.source = src
		if used == 0 {
			src.Parts = append(src.Parts, Part{Name: d.part, Images: d.Len(), Used: true})
		}
	}
}

// layoutFolders is Source.Layout of class folders.
const layoutFolders = "class folders"
