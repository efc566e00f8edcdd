package eval

import "github.com/verydeep/vgg/dataset"

// Answer is the result for one image.
type Answer struct {
	File      string    // name of the image in the data set
	Label     int       // index into the data set's classes
	Labels    []int     // of a set with several labels an image, ascending
	Posterior []float32 // by the network's classes; nil for an unreadable image
	Err       error     // the reason why the image is unreadable, or nil
}

// answerTo returns an answer without a posterior.
func answerTo(s dataset.Sample, err error) Answer {
	return Answer{File: s.Name, Label: s.Label, Labels: s.Labels, Err: err}
}

// source returns the answers for the images of a set by their index. ok is false for an
// image without an answer.
type source interface {
	answer(image int) (a Answer, ok bool, err error)
}

// meanOf answers with the mean posterior of several sources. An image that one source
// can't read is unreadable.
type meanOf []source

func (m meanOf) answer(image int) (Answer, bool, error) {
	var first Answer
	posteriors := make([][]float32, len(m))
	for i, s := range m {
		a, ok, err := s.answer(image)
		if err != nil || !ok || a.Err != nil {
			return a, ok, err
		}
		if i == 0 {
			first = a
		}
		posteriors[i] = a.Posterior
	}
	first.Posterior = Mean(posteriors...)
	return first, true, nil
}

// store keeps answers, network by network.
type store interface {
	has(net, image int) answerState
	put(net, image int, a Answer) error
	net(n int) source
}

// answerState tells whether a store has an answer.
type answerState int

const (
	absent answerState = iota
	unreadable
	present
)

// memory is a store that lasts as long as the run.
type memory struct {
	data *dataset.Dataset
	nets []map[int]found
}

// found is an answer in memory.
type found struct {
	posterior []float32
	err       error
}

// answersBytes returns about the memory, in bytes, of a store of answers: an entry for
// each image and network, and the posterior of so many classes, 0 if a file holds it.
func answersBytes(images, nets, classes int) int64 {
	const entry = 128
	return int64(images) * int64(nets) * (entry + 4*int64(classes))
}

func newMemory(data *dataset.Dataset, nets int) *memory {
	m := &memory{data: data, nets: make([]map[int]found, nets)}
	for i := range m.nets {
		m.nets[i] = map[int]found{}
	}
	return m
}

func (m *memory) has(net, image int) answerState {
	switch f, ok := m.nets[net][image]; {
	case !ok:
		return absent
	case f.err != nil:
		return unreadable
	}
	return present
}

func (m *memory) put(net, image int, a Answer) error {
	m.nets[net][image] = found{a.Posterior, a.Err}
	return nil
}

func (m *memory) net(n int) source { return memoryNet{m, n} }

type memoryNet struct {
	m *memory
	n int
}

func (s memoryNet) answer(image int) (Answer, bool, error) {
	f, ok := s.m.nets[s.n][image]
	sample := s.m.data.Samples[image]
	return Answer{sample.Name, sample.Label, sample.Labels, f.posterior, f.err}, ok, nil
}
