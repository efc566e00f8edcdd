package progress

import "time"

// Rate returns how many of n things a second were done in a time. It is 0 if the time is shorter
// than the clock tells apart, which is up to 16 ms on Windows.
func Rate(n float64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return n / in.Seconds()
}
