package kernel

import "testing"

type nothing struct{}

func (nothing) Part(int, int) {}

// BenchmarkTeam is what splitting a layer call over two threads costs.
func BenchmarkTeam(b *testing.B) {
	team := NewTeam(2)
	b.ReportAllocs()
	for b.Loop() {
		team.Run(2, nothing{})
	}
}
