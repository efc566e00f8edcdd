package cli

import (
	"strings"

	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/server"
)

// sampleFiles are those of the embedded photographs that the page offers: one of each
// category, chosen by eye.
var sampleFiles = []string{
	"Leopards/image_0041.jpg", "ketch/image_0047.jpg", "sunflower/image_0041.jpg", "grand_piano/image_0044.jpg", "butterfly/image_0048.jpg",
	"airplanes/image_0045.jpg", "bonsai/image_0044.jpg", "Motorbikes/image_0050.jpg", "starfish/image_0042.jpg", "watch/image_0044.jpg",
}

// lessonClasses are the categories that the page fills in to be taught, by lessonPictures
// photographs of each. They are others than those to try, which are of the validation set.
var lessonClasses = []string{"butterfly", "sunflower", "ketch"}

const lessonPictures = 12

// pageSamples returns the photographs that the page offers to try and to teach by.
func pageSamples() (server.Samples, error) {
	s := server.Samples{Credit: sample.Credit}
	train, val, err := sample.Open()
	if err != nil {
		return s, err
	}
	for _, file := range sampleFiles {
		for i := range val.Samples {
			if !strings.HasSuffix(val.Samples[i].Name, file) {
				continue
			}
			data, err := val.Read(i)
			if err != nil {
				return s, err
			}
			name, _, _ := strings.Cut(file, "/")
			s.Pictures = append(s.Pictures, server.SamplePicture{Name: strings.ReplaceAll(name, "_", " "), Data: data})
		}
	}
	for _, class := range lessonClasses {
		lesson := server.SampleLesson{Class: class}
		for i := range train.Samples {
			if train.Classes[train.Samples[i].Label] != class || len(lesson.Pictures) == lessonPictures {
				continue
			}
			data, err := train.Read(i)
			if err != nil {
				return s, err
			}
			lesson.Pictures = append(lesson.Pictures, server.SamplePicture{Name: class, Data: data})
		}
		s.Lessons = append(s.Lessons, lesson)
	}
	return s, nil
}
