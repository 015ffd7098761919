package darknet

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"yoloprune/yolo/graph"
)

// The readers below take a key's value out of a section, or its default when
// the key is absent. The first fault stays in s.err and later calls return
// defaults, so that a parser checks once.
//
// Darknet reads a number with atoi or atof, which take "3abc" as 3 and "x" as
// 0; here both are errors. It keeps them as float32, so that a larger one is an
// error too.

var number = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

func parseFloat(text string) (float64, error) {
	if !number.MatchString(text) {
		return 0, fmt.Errorf("%.40q is not a number", text)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(v) > math.MaxFloat32 {
		return 0, fmt.Errorf("%.40q is out of range", text)
	}
	return v, nil
}

// parseInt also takes "8.0". An exponent is refused, since atoi stops at it.
func parseInt(text string) (int, error) {
	v, err := parseFloat(text)
	if err != nil {
		return 0, err
	}
	if v != math.Trunc(v) || strings.ContainsAny(text, "eE") {
		return 0, fmt.Errorf("%.40q is not a whole number", text)
	}
	if math.Abs(v) > math.MaxInt32 {
		return 0, fmt.Errorf("%.40q is out of range", text)
	}
	return int(v), nil
}

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// plain rewrites the numbers of a carried value that have an exponent or a
// plus sign as plain decimals, since not every reader takes those: "4e-5"
// becomes "0.00004". Numbers too small for a float32 stay, as they would get
// long.
func plain(value string) string {
	if !strings.ContainsAny(value, "eE+") {
		return value
	}
	parts := strings.Split(value, ",")
	for i, p := range parts {
		if !strings.ContainsAny(p, "eE+") {
			continue
		}
		if v, err := parseFloat(p); err == nil && (v == 0 || float32(v) != 0) {
			parts[i] = formatFloat(v)
		}
	}
	return strings.Join(parts, ",")
}

func (s *section) fail(line int, format string, args ...any) {
	if s.err == nil {
		s.err = &FormatError{s.file, line, fmt.Sprintf(format, args...)}
	}
}

func (s *section) unsupported(line int, format string, args ...any) {
	if s.err == nil {
		s.err = &UnsupportedError{s.file, line, fmt.Sprintf(format, args...)}
	}
}

// take returns the option with a key and marks it as used; nil if it is absent
// or has no value.
func (s *section) take(key string) *option {
	o := s.peek(key)
	if o == nil {
		return nil
	}
	o.used = true
	if o.value == "" {
		s.fail(o.line, "%s has no value: write %s=... or delete the line", key, key)
		return nil
	}
	return o
}

func (s *section) int(key string, standard int) int {
	o := s.take(key)
	if o == nil {
		return standard
	}
	v, err := parseInt(o.value)
	if err != nil {
		s.fail(o.line, "%s: %v: write it as in %s=1", key, err, key)
		return standard
	}
	return v
}

func (s *section) float(key string, standard float64) float64 {
	o := s.take(key)
	if o == nil {
		return standard
	}
	v, err := parseFloat(o.value)
	if err != nil {
		s.fail(o.line, "%s: %v: write it as in %s=0.5", key, err, key)
		return standard
	}
	return v
}

func (s *section) flag(key string) bool { return s.int(key, 0) != 0 }

// word reads a name. A comment behind it is an error, not a warning: Darknet
// takes "leaky#x" for an unknown name and falls back to another one.
func (s *section) word(key, standard string) (value string, line int) {
	o := s.take(key)
	if o == nil {
		return standard, s.line
	}
	if o.comment != "" {
		s.fail(o.line, "%s: a comment stands behind %q: Darknet takes it as part of the name: give it its own line", key, o.value)
	}
	return o.value, o.line
}

func (s *section) choice(key, standard string, among []string) string {
	v, line := s.word(key, standard)
	if !slices.Contains(among, v) {
		s.fail(line, "%s: %.40q is unknown: use one of %s", key, v, strings.Join(among, ", "))
	}
	return v
}

// within takes a number that has to lie in [low, high).
func (s *section) within(key string, standard, low, high float64) float64 {
	v := s.float(key, standard)
	if !(v >= low && v < high) {
		s.fail(s.lineOf(key), "%s=%v: must be at least %v and below %v", key, v, low, high)
	}
	return v
}

// activation reads an activation's name. Darknet turns an unknown one into
// relu; here that is an error.
func (s *section) activation(standard graph.Activation) graph.Activation {
	v, line := s.word("activation", string(standard))
	a := graph.Activation(v)
	switch {
	case slices.Contains(graph.Activations, a):
	case otherActivations[v]:
		s.unsupported(line, "activation=%s is not supported: supported are %v: train with one of those", v, graph.Activations)
	default:
		s.fail(line, "activation: %.40q is unknown: use one of %v", v, graph.Activations)
	}
	return a
}

// productActivation reads the activation of a product. Darknet's CPU code turns
// the output into zeros for the others (src/activations.c, activate).
func (s *section) productActivation() graph.Activation {
	a := s.activation(graph.Linear)
	switch a {
	case graph.Relu6, graph.Mish, graph.Swish:
		s.unsupported(s.lineOf("activation"), "activation=%s is not supported in %s, where Darknet's CPU code computes zeros: supported are %v",
			a, s.name, []graph.Activation{graph.Linear, graph.Leaky, graph.Relu, graph.Logistic})
	}
	return a
}

// ints reads a list of whole numbers; nil when the key is absent.
func (s *section) ints(key string) []int {
	return list(s, key, parseInt)
}

func (s *section) floats(key string) []float64 {
	return list(s, key, parseFloat)
}

func list[T any](s *section, key string, parse func(string) (T, error)) []T {
	o := s.take(key)
	if o == nil {
		return nil
	}
	var out []T
	for i, text := range strings.Split(o.value, ",") {
		v, err := parse(text)
		if err != nil {
			s.fail(o.line, "%s: number %d of the list: %v", key, i+1, err)
			return nil
		}
		out = append(out, v)
	}
	return out
}

var safeKey = regexp.MustCompile(`^[0-9A-Za-z_.-]+$`)

// isSafe says whether every reader takes key=value as it stands: printable
// ASCII, no white space and no comment sign.
func isSafe(key, value string) bool {
	for _, c := range []byte(value) {
		if c <= ' ' || c > '~' || c == '#' {
			return false
		}
	}
	return value != "" && safeKey.MatchString(key)
}

// rest returns the options that the parser did not use, to be carried along.
func (s *section) rest(kind string) []graph.Option {
	var out []graph.Option
	for _, o := range s.options {
		if o.used {
			continue
		}
		if !isSafe(o.key, o.value) {
			s.warn(o.line, "%.40q is dropped: an option is written key=value in plain ASCII", o.key+"="+o.value)
			continue
		}
		if !s.isKnown(kind, o.key) {
			s.warn(o.line, "%s is no key of [%s]: it is carried along without effect", o.key, kind)
		}
		out = append(out, graph.Option{Key: o.key, Value: plain(o.value), Line: o.line})
	}
	return out
}

func (s *section) isKnown(kind, key string) bool {
	_, isNeutral := neutralValue(kind, key)
	return isNeutral || isIgnorable(kind, key)
}
