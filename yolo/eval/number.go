package eval

import "strconv"

// numeral is a JSON number: mantissa * 10^exponent, unless it has more digits
// than fit.
type numeral struct {
	mantissa uint64
	exponent int
	negative bool
	whole    bool // neither fraction nor exponent
	exact    bool // all digits are in the mantissa
}

// numberByte says which bytes occur in numbers.
var numberByte = func() (t [256]bool) {
	for _, c := range []byte("0123456789+-.eE") {
		t[c] = true
	}
	return t
}()

func startsNumber(c byte) bool { return c-'0' <= 9 || c == '-' }

// number reads a number. The text is good until the next read.
func (s *scanner) number() (n numeral, text []byte, err error) {
	s.keep = s.at
	for s.more() && s.at-s.keep <= maxToken {
		i := s.at
		for i < len(s.buf) && numberByte[s.buf[i]] {
			i++
		}
		s.at = i
		if i < len(s.buf) {
			break
		}
	}
	text = s.buf[s.keep:s.at]
	n, bad := parseNumeral(text)
	s.keep = -1
	if bad >= 0 {
		s.at -= len(text) - bad
		context := "in numeric literal"
		if bad == 0 {
			context = "looking for beginning of value"
		}
		return n, text, s.unexpected(context)
	}
	return n, text, nil
}

// digits reads digits from text[i:], each of which lowers the exponent by
// perDigit, and returns where they end.
func (n *numeral) digits(text []byte, i, perDigit int) int {
	for ; i < len(text) && text[i]-'0' <= 9; i++ {
		if n.mantissa >= 1e18 { // the next digit might not fit
			n.exact = false
			n.exponent += 1 - perDigit
			continue
		}
		n.mantissa = n.mantissa*10 + uint64(text[i]-'0')
		n.exponent -= perDigit
	}
	return i
}

// parseNumeral reads a number by JSON's grammar,
//
//	-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
//
// and returns the position of what breaks it, or -1.
func parseNumeral(text []byte) (n numeral, bad int) {
	n.whole, n.exact = true, true
	i := 0
	if i < len(text) && text[i] == '-' {
		n.negative = true
		i++
	}
	first := i
	if i = n.digits(text, i, 0); i == first {
		return n, i
	}
	if text[first] == '0' && i > first+1 {
		return n, first + 1
	}
	if i < len(text) && text[i] == '.' {
		n.whole = false
		point := i + 1
		if i = n.digits(text, point, 1); i == point {
			return n, i
		}
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		n.whole = false
		if i, bad = n.power(text, i+1); bad >= 0 {
			return n, bad
		}
	}
	if i < len(text) {
		return n, i
	}
	return n, -1
}

// power reads what follows the e.
func (n *numeral) power(text []byte, i int) (end, bad int) {
	sign := 1
	if i < len(text) && (text[i] == '+' || text[i] == '-') {
		if text[i] == '-' {
			sign = -1
		}
		i++
	}
	first, e := i, 0
	for ; i < len(text) && text[i]-'0' <= 9; i++ {
		e = min(10*e+int(text[i]-'0'), 1e6)
	}
	if i == first {
		return i, i
	}
	n.exponent += sign * e
	return i, -1
}

// powers of ten that are exact.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// float returns the nearest number, and whether it is finite. A mantissa and a
// power of ten that are both exact give it with one rounding.
//
// Clinger, How to Read Floating Point Numbers Accurately, PLDI 1990, section 3.
func (n *numeral) float(text []byte) (float64, bool) {
	if n.exact && n.mantissa < 1<<53 && n.exponent >= -22 && n.exponent <= 22 {
		v := float64(n.mantissa)
		if n.exponent < 0 {
			v /= powers[-n.exponent]
		} else {
			v *= powers[n.exponent]
		}
		if n.negative {
			v = -v
		}
		return v, true
	}
	v, err := strconv.ParseFloat(string(text), 64)
	return v, err == nil
}

// integer returns a whole number, and whether it is one that fits.
func (n *numeral) integer(text []byte) (int64, bool) {
	if !n.whole {
		return 0, false
	}
	if n.exact && n.mantissa < 1<<62 {
		if n.negative {
			return -int64(n.mantissa), true
		}
		return int64(n.mantissa), true
	}
	v, err := strconv.ParseInt(string(text), 10, 64)
	return v, err == nil
}
