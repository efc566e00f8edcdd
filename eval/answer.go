package eval

import "github.com/verydeep/vgg/dataset"

// Answer is what was found of one image.
type Answer struct {
	File      string    // its name in the data set
	Label     int       // index into the data set's classes
	Posterior []float32 // of the network's classes; nil of an unreadable image
	Err       error     // why the image is unreadable, or nil
}

// source gives the answers for the images of a set by their index. ok is false of an
// image that has none yet.
type source interface {
	answer(image int) (a Answer, ok bool, err error)
}

// meanOf answers with the mean posterior of several sources. An image that is unreadable
// for one is so for all.
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
	has(net, image int) state
	put(net, image int, a Answer) error
	net(n int) source
}

// state is whether a store has an answer.
type state int

const (
	absent state = iota
	unreadable
	present
)

// memory is a store that lasts as long as the run.
type memory struct {
	data *dataset.Dataset
	nets []map[int]found
}

type found struct {
	posterior []float32
	err       error
}

func newMemory(data *dataset.Dataset, nets int) *memory {
	m := &memory{data: data, nets: make([]map[int]found, nets)}
	for i := range m.nets {
		m.nets[i] = map[int]found{}
	}
	return m
}

func (m *memory) has(net, image int) state {
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
	return Answer{sample.Name, sample.Label, f.posterior, f.err}, ok, nil
}
