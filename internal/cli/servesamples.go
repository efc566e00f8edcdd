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

// pageSamples returns the photographs that the page offers to try.
func pageSamples() (server.Samples, error) {
	s := server.Samples{Credit: sample.Credit}
	_, val, err := sample.Open()
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
	return s, nil
}
