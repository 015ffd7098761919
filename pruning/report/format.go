package report

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// none stands where nothing was measured or a value is undefined.
const none = "-"

// significant writes a number with that many digits, and never drops one
// before the point.
func significant(v float64, digits int) string {
	decimals := digits - 1
	for a := math.Abs(v); a >= 10 && decimals > 0; a /= 10 {
		decimals--
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// count writes 1476096 as "1.476 M".
func count(v float64) string { return short(v, 4) }

// short writes a number with that many digits and a decimal prefix.
func short(v float64, digits int) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if v >= unit.size {
			return significant(v/unit.size, digits) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// size writes a number of bytes in decimal units.
func size(v float64) string {
	s := short(v, 3)
	if !strings.Contains(s, " ") {
		s += " "
	}
	return s + "B"
}

func precision(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

func milliseconds(v float64) string { return significant(v, 3) + " ms" }

// duration writes seconds as "3 min 20 s".
func duration(seconds float64) string {
	s := int64(math.Round(seconds))
	switch {
	case seconds < 10:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
}

// relative writes the change from one value to another in per cent; it is
// empty when there is nothing to relate to.
func relative(from, to float64) string {
	if from == 0 {
		return ""
	}
	v := 100 * (to - from) / from
	if math.Abs(v) < 0.05 {
		return "0 %"
	}
	if a := math.Abs(v); a >= 10 && a < 99 {
		return fmt.Sprintf("%+.0f %%", v)
	}
	return fmt.Sprintf("%+.1f %%", v)
}

// difference writes the change of a precision.
func difference(from, to float64) string {
	s := fmt.Sprintf("%+.3f", to-from)
	if s == "+0.000" || s == "-0.000" {
		return "0"
	}
	return s
}

// pair is a line of a list of facts.
type pair struct{ Key, Value string }

// facts flattens a JSON object into lines: first the keys named, in that
// order, then all others by name.
func facts(raw json.RawMessage, first ...string) []pair {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v map[string]any
	if len(raw) == 0 || d.Decode(&v) != nil {
		return nil
	}
	list := flatten("", v, nil)
	place := func(p pair) int {
		if i := slices.Index(first, p.Key); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortFunc(list, func(a, b pair) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a.Key, b.Key)
	})
	return list
}

func flatten(prefix string, v map[string]any, list []pair) []pair {
	for key, value := range v {
		switch value := value.(type) {
		case map[string]any:
			list = flatten(prefix+key+".", value, list)
		default:
			list = append(list, pair{prefix + key, plain(key, value)})
		}
	}
	return list
}

// plain writes a JSON value for reading; a list under "input" is a size.
func plain(key string, v any) string {
	list, ok := v.([]any)
	switch {
	case v == nil || v == "":
		return none
	case !ok:
		return fmt.Sprint(v)
	}
	words := make([]string, len(list))
	for i, item := range list {
		words[i] = fmt.Sprint(item)
	}
	if key == "input" {
		return strings.Join(words, " x ")
	}
	return strings.Join(words, ", ")
}
