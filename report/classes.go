package report

// Class is the result of an evaluation on the images of one class.
type Class struct {
	Name         string
	Images       int64   // images of the class
	Top1, Top5   float64 // errors, fractions of Images
	ConfusedWith string  // class most often predicted in its place, or ""
}

// ClassTable lists classes in the order given.
func ClassTable(classes []Class) *Table {
	t := NewTable(
		Column{Title: "Class"},
		Column{Title: "Images", Align: Right},
		Column{Title: "Top-1 error", Align: Right},
		Column{Title: "Top-5 error", Align: Right},
		Column{Title: "Most confused with"},
	)
	for _, c := range classes {
		if c.Images == 0 {
			t.Row(c.Name, "0", "–", "–")
			continue
		}
		t.Row(c.Name, Count(c.Images), Percent(c.Top1), Percent(c.Top5), c.ConfusedWith)
	}
	return t
}

// Mistake is an image whose most probable class is not its true class.
type Mistake struct {
	File        string
	Truth       string
	Predicted   string
	Probability float64 // of the predicted class
	Rank        int     // of the true class; 1 is the most probable
}

// MistakeTable lists mistakes in the order given.
func MistakeTable(mistakes []Mistake) *Table {
	t := NewTable(
		Column{Title: "Image"},
		Column{Title: "True class"},
		Column{Title: "Predicted"},
		Column{Title: "Probability", Align: Right},
		Column{Title: "True class's rank", Align: Right},
	)
	for _, m := range mistakes {
		t.Row(m.File, m.Truth, m.Predicted, Percent(m.Probability), Count(int64(m.Rank)))
	}
	return t
}
