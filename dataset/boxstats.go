package dataset

import "math"

// BoxSurvey describes the bounding boxes of a dataset.
type BoxSurvey struct {
	Width   Distribution    `json:"width"` // of the boxes, rounded
	Height  Distribution    `json:"height"`
	Classes []BoxClassCount `json:"classes"`
}

// BoxClassCount is the number of a class's boxes, and of those marked difficult or crowds.
type BoxClassCount struct {
	Class     string `json:"class"`
	Boxes     int    `json:"boxes"`
	Difficult int    `json:"difficult"`
}

// SurveyBoxes counts and measures the boxes that [ReadBoxes] has added to d.
func SurveyBoxes(d *Dataset) BoxSurvey {
	r := BoxSurvey{Classes: make([]BoxClassCount, len(d.Classes))}
	for i, c := range d.Classes {
		r.Classes[i].Class = c
	}
	var widths, heights []int
	for _, s := range d.Samples {
		for _, b := range s.Boxes {
			widths = append(widths, int(math.Round(b.X1-b.X0)))
			heights = append(heights, int(math.Round(b.Y1-b.Y0)))
			r.Classes[b.Class].Boxes++
			if b.Difficult {
				r.Classes[b.Class].Difficult++
			}
		}
	}
	if len(widths) > 0 {
		r.Width, r.Height = distribution(widths), distribution(heights)
	}
	return r
}
