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
	if src.Layout == "" {
		src.Layout = layoutFolders
	}
	add := func(d *Dataset, name string) {
		for i := range src.Parts {
			if p := &src.Parts[i]; p.Used && (p.Name == partNames[partTrain]) == (name == partNames[partTrain]) {
				p.Images = d.Len()
				return
			}
		}
		src.Parts = append(src.Parts, Part{Name: name, Images: d.Len(), Used: true})
	}
	add(train, train.part)
	train.source = src
	if val != nil {
		add(val, val.part)
		val.source = src
	}
}

// layoutFolders is Source.Layout of class folders.
const layoutFolders = "class folders"
