package report

import (
	"fmt"
	"strconv"
	"time"
)

// Count formats n with a comma between groups of three digits, as the paper's
// tables and the frameworks' summaries do: 102,760,448.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	grouped := make([]byte, 0, len(digits)+len(digits)/3)
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			grouped = append(grouped, ',')
		}
		grouped = append(grouped, digits[i])
	}
	return sign + string(grouped)
}

// Bytes formats n bytes in the largest binary unit that is at most n, with one
// decimal: 512 B, 1.5 KiB, 527.8 MiB.
func Bytes(n int64) string {
	if -1024 < n && n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value := float64(n)
	const units = "KMGTPE"
	unit := -1
	// 1023.95 would round up to 1024.0 of its unit.
	for unit < len(units)-1 && (value >= 1023.95 || value <= -1023.95 || unit < 0) {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// Duration formats d to about three significant figures in everyday units:
// 830 ms, 12.3 s, 2m 31s, 1h 02m.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-d)
	}
	// Each limit is the value at which rounding reaches the next form.
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour-500*time.Millisecond:
		seconds := int64(d.Round(time.Second).Seconds())
		return fmt.Sprintf("%dm %02ds", seconds/60, seconds%60)
	default:
		minutes := int64(d.Round(time.Minute).Minutes())
		return fmt.Sprintf("%dh %02dm", minutes/60, minutes%60)
	}
}

// Percent formats a fraction as per cent with one decimal, the precision of
// the paper's tables: 0.2704 gives 27.0 %.
func Percent(fraction float64) string {
	return strconv.FormatFloat(100*fraction, 'f', 1, 64) + " %"
}

// PlusMinus formats a mean and its deviation, both fractions, as per cent: 91.8 ± 1.00 %.
func PlusMinus(mean, deviation float64) string {
	return fmt.Sprintf("%.1f ± %.2f %%", 100*mean, 100*deviation)
}
