package term

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// SI writes a count with three significant digits and a decimal prefix:
// 1476096 is "1.48 M".
func SI(x float64) string {
	number, prefix := scale(x)
	return number + spaced(prefix)
}

// Bytes writes a size with a decimal prefix: 24251276 is "24.3 MB".
func Bytes(n int64) string {
	number, prefix := scale(float64(n))
	return number + " " + prefix + "B"
}

func spaced(prefix string) string {
	if prefix == "" {
		return ""
	}
	return " " + prefix
}

var prefixes = []string{"", "k", "M", "G", "T", "P", "E"}

// scale divides x by the power of 1000 that leaves one to three digits before
// the point. A value that rounds up to 1000 takes the next prefix.
func scale(x float64) (number, prefix string) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Sprint(x), ""
	}
	i := 0
	for ; i+1 < len(prefixes) && math.Abs(roundTo3(x)) >= 1000; i++ {
		x /= 1000
	}
	digits := 2
	if a := math.Abs(roundTo3(x)); a >= 100 {
		digits = 0
	} else if a >= 10 {
		digits = 1
	}
	if i == 0 && x == math.Trunc(x) {
		digits = 0
	}
	return strconv.FormatFloat(x, 'f', digits, 64), prefixes[i]
}

func roundTo3(x float64) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'e', 2, 64), 64)
	return r
}

// Duration writes a time in whole seconds, and from an hour on in minutes:
// "45s", "12m03s", "3h20m".
func Duration(d time.Duration) string {
	if d >= time.Hour-30*time.Second {
		m := int(d.Round(time.Minute).Minutes())
		return fmt.Sprintf("%dh%02dm", m/60, m%60)
	}
	s := int(d.Round(time.Second).Seconds())
	if s >= 60 {
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%ds", s)
}
