package kernel

import "testing"

type nothing struct{}

func (nothing) Part(int, int) {}

// BenchmarkTeam measures the cost of splitting a layer call over two threads.
func BenchmarkTeam(b *testing.B) {
	team := NewTeam(2)
	b.ReportAllocs()
	for b.Loop() {
		team.Run(2, nothing{})
	}
}
