package darknet

import (
	"fmt"
	"strconv"
	"strings"

	"yoloprune/yolo/graph"
)

// editor changes the text of a cfg where a graph differs from it.
//
// The text is cut into the parts of its sections: the comments right above the
// header, the header, the options and what follows. A section is found again by
// its line, so that a graph may have lost nodes, and got new ones, since it was
// read.
type editor struct {
	encoder
	sections []*section
	lines    []string         // with their endings
	added    map[int][]string // options to stand after a line, by its index
	start    []int            // index of every section's first line, and the number of lines
	newline  string           // that of the first line
	out      strings.Builder
	gap      bool // an empty line has to stand before the next part
}

// edit returns g's source with the values that differ changed.
func edit(g *graph.Graph) (string, error) {
	var ignored []Warning
	old, sections, err := decodeText("", g.Source, &ignored)
	if err != nil {
		return "", fmt.Errorf("the text that the network was read from: %w", err)
	}
	e := newEditor(g.Source, sections)
	e.change(sections[0], netFields(old.Net), netFields(g.Net), 0)
	e.options("network", sections[0], old.Net.Options, g.Net.Options, netFields(g.Net))
	from := match(g, old)
	for i, n := range g.Nodes {
		if k := from[i]; k >= 0 {
			e.edit(sections[k+1], old.Nodes[k], n)
		}
	}
	e.assemble(g, from)
	return e.out.String(), e.err
}

func newEditor(text string, sections []*section) *editor {
	e := &editor{sections: sections, added: make(map[int][]string), newline: "\n"}
	for line := range strings.Lines(text) {
		e.lines = append(e.lines, line)
	}
	if strings.HasSuffix(e.lines[0], "\r\n") {
		e.newline = "\r\n"
	}
	e.start = append(e.start, 0)
	for _, s := range sections[1:] {
		e.start = append(e.start, e.firstLine(s.line-1))
	}
	e.start = append(e.start, len(e.lines))
	return e
}

// firstLine returns the first line of the comments that belong to a header:
// those right above it, unless an option stands right above them.
func (e *editor) firstLine(header int) int {
	i := header
	for isComment(e.lines[i-1]) {
		i--
	}
	if isBlank(e.lines[i-1]) {
		return i
	}
	return header
}

func isBlank(line string) bool { return strip(line) == "" }

func isComment(line string) bool {
	line = strip(line)
	return line != "" && (line[0] == '#' || line[0] == ';')
}

// match returns for every node of g the node of old that has its line and
// kind, or -1.
func match(g, old *graph.Graph) []int {
	byLine := make(map[int]int)
	for k, n := range old.Nodes {
		byLine[n.Line] = k
	}
	from := make([]int, len(g.Nodes))
	for i, n := range g.Nodes {
		k, ok := byLine[n.Line]
		if !ok || old.Nodes[k].Op.Kind() != n.Op.Kind() {
			from[i] = -1
			continue
		}
		from[i] = k
		delete(byLine, n.Line)
	}
	return from
}

func (e *editor) edit(s *section, old, n *graph.Node) {
	before, after := e.fields(old, s), e.fields(n, s)
	e.change(s, before, after, n.ID)
	e.options(n.String(), s, old.Options, n.Options, after)
}

// change brings the fields of a section up to date. An absent key is added
// unless its standard value is right.
func (e *editor) change(s *section, before, after []field, here graph.NodeID) {
	old := make(map[string]field)
	for _, f := range before {
		old[f.key] = f
	}
	for _, f := range after {
		was, o := old[f.key], s.peek(f.key)
		delete(old, f.key)
		changed := f.value != was.value || f.standard != was.standard
		switch {
		case f.layers != nil:
			e.refer(s, f, here)
		case f.value == "":
		case o == nil && changed && f.value != f.standard:
			e.add(s, f.key, f.value)
		case o != nil && f.value != was.value:
			e.set(o, f.value)
		}
	}
	for _, f := range before {
		if _, gone := old[f.key]; gone && f.layers != nil {
			e.remove(s.peek(f.key))
		}
	}
}

// refer leaves the numbers of a reference that are right where the section
// stands now, and keeps the others absolute or relative.
func (e *editor) refer(s *section, f field, here graph.NodeID) {
	o := s.peek(f.key)
	if o == nil {
		e.add(s, f.key, relative(f.layers, here))
		return
	}
	text := strings.Split(o.value, ",")
	changed := len(text) != len(f.layers)
	var list []string
	for i, id := range f.layers {
		entry := text[min(i, len(text)-1)]
		v, _ := parseInt(entry)
		switch {
		case i < len(text) && resolve(v, int(here)) == id:
			list = append(list, entry)
			continue
		case v < 0:
			list = append(list, strconv.Itoa(int(id-here)))
		default:
			list = append(list, strconv.Itoa(int(id)))
		}
		changed = true
	}
	if changed {
		e.set(o, strings.Join(list, ","))
	}
}

// options brings the carried options up to date.
func (e *editor) options(where string, s *section, before, after []graph.Option, fields []field) {
	wanted := e.carried(where, after, fields)
	was, want := values(before), values(wanted)
	for _, o := range before {
		if _, ok := want[o.Key]; !ok {
			e.remove(s.peek(o.Key))
		}
	}
	for _, o := range wanted {
		text := s.peek(o.Key)
		if v, ok := was[o.Key]; ok && v == o.Value {
			continue
		}
		if text != nil {
			e.set(text, o.Value)
		} else {
			e.add(s, o.Key, o.Value)
		}
	}
}

// set changes a value wherever its key stands in the section, since readers
// differ in which they take.
func (e *editor) set(o *option, value string) {
	for _, number := range append([]int{o.line}, o.repeats...) {
		e.lines[number-1] = withValue(e.lines[number-1], value)
	}
}

func (e *editor) remove(o *option) {
	for _, number := range append([]int{o.line}, o.repeats...) {
		e.lines[number-1] = ""
	}
}

// add puts an option behind the last one of a section.
func (e *editor) add(s *section, key, value string) {
	e.added[s.last-1] = append(e.added[s.last-1], key+"="+value)
}

const space = " \t\r\n"

// withValue replaces the value in a line key=value and keeps the spacing and
// the comment behind it. In a list only the numbers that differ are replaced.
func withValue(line, value string) string {
	key, old, found := strings.Cut(line, "=")
	if !found {
		key = strings.TrimRight(line, space)
		old = line[len(key):]
	}
	comment := ""
	if i := strings.IndexByte(old, '#'); i >= 0 {
		old, comment = old[:i], old[i:]
	}
	from, to := strings.Split(old, ","), strings.Split(value, ",")
	if len(from) != len(to) {
		from, to = []string{old}, []string{value}
	}
	for i, text := range from {
		body := strings.TrimRight(text, space)
		lead := body[:len(body)-len(strings.TrimLeft(body, space))]
		if !sameValue(strip(body), to[i]) {
			from[i] = lead + to[i] + text[len(body):]
		}
	}
	return key + "=" + strings.Join(from, ",") + comment
}

func sameValue(a, b string) bool {
	x, errX := parseFloat(a)
	y, errY := parseFloat(b)
	return a == b || errX == nil && errY == nil && x == y
}

// assemble puts the parts together in the order of g's nodes; from is the
// section of each, or -1 for a new one. Comments of their own among the lost
// sections stay.
func (e *editor) assemble(g *graph.Graph, from []int) {
	kept := make([]bool, len(e.sections)-1)
	for _, k := range from {
		if k >= 0 {
			kept[k] = true
		}
	}
	next := 0
	dropBefore := func(k int) {
		for ; next < k; next++ {
			if !kept[next] {
				e.put(e.comments(next + 1))
			}
		}
	}
	e.put(e.part(e.start[0], e.start[1]))
	for i, n := range g.Nodes {
		if k := from[i]; k >= 0 {
			dropBefore(k)
			e.put(e.part(e.start[k+1], e.start[k+2]))
		} else {
			e.putNew(n)
		}
	}
	dropBefore(len(kept))
}

// part returns lines with what was added to them.
func (e *editor) part(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		line, more := e.lines[i], e.added[i]
		b.WriteString(line)
		if len(more) == 0 {
			continue
		}
		if line == "" || strings.HasSuffix(line, "\n") {
			b.WriteString(strings.Join(more, e.newline) + e.newline)
		} else {
			b.WriteString(e.newline + strings.Join(more, e.newline))
		}
	}
	return b.String()
}

// comments returns what stays of a section that is lost: the text after its
// options, without the comments right below them.
func (e *editor) comments(k int) string {
	i, end := e.sections[k].last, e.start[k+1]
	below := i
	for below < end && isComment(e.lines[below]) {
		below++
	}
	if below == len(e.lines) || below < end && isBlank(e.lines[below]) {
		i = below
	}
	for i < end && isBlank(e.lines[i]) {
		i++
	}
	return e.part(i, end)
}

func (e *editor) put(text string) {
	if text == "" {
		return
	}
	if e.gap {
		e.separate()
	}
	e.gap = false
	e.out.WriteString(text)
}

func (e *editor) putNew(n *graph.Node) {
	e.separate()
	e.text.Reset()
	e.node(n)
	e.out.WriteString(strings.ReplaceAll(e.text.String(), "\n", e.newline))
	e.gap = true
}

// separate ends the line and sees to an empty one after it.
func (e *editor) separate() {
	so := e.out.String()
	if !strings.HasSuffix(so, "\n") {
		e.out.WriteString(e.newline)
	}
	if so = strings.TrimSuffix(e.out.String(), "\n"); !strings.HasSuffix(strings.TrimRight(so, " \t\r"), "\n") {
		e.out.WriteString(e.newline)
	}
}
