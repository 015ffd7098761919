package configs

import (
	"fmt"
	"reflect"

	"gopkg.in/yaml.v3"
)

// Size is a width and a height in pixels, multiples of 32. One number stands
// for a square.
type Size [2]int

// MaxInput bounds a side of the network's input.
const MaxInput = 4096

func (s *Size) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		side := reflect.ValueOf(&s[0]).Elem()
		d.side(n, side, path)
		s[1] = s[0]
		return
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) != 2 {
		d.report(n, path, "%s is not a size; write [width, height] or one number", describe(n))
		return
	}
	for i, item := range n.Content {
		d.side(item, reflect.ValueOf(&s[i]).Elem(), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) side(n *yaml.Node, v reflect.Value, path string) {
	before := len(d.diags)
	d.scalar(n, v, path, `in:"[32,4096]"`)
	if x := v.Int(); len(d.diags) == before && x%32 != 0 {
		low := x / 32 * 32
		d.report(n, path, "%d is not a multiple of 32; the nearest are %d and %d", x, low, low+32)
	}
}

// Chance is a probability. true stands for one half, false for 0.
type Chance float64

const fair Chance = 0.5

func (c *Chance) decodeNode(d *decoder, n *yaml.Node, path string) {
	if tagOf(n) != "!!bool" {
		d.chance(n, c, path)
		return
	}
	var on bool
	if setBool(n, reflect.ValueOf(&on).Elem()) == "" && on {
		*c = fair
	} else {
		*c = 0
	}
}

func (d *decoder) chance(n *yaml.Node, c *Chance, path string) {
	var p float64
	v := reflect.ValueOf(&p).Elem()
	if want := setFloat(n, v); want != "" {
		d.report(n, path, "%s is not true, false or a probability", describe(n))
		return
	}
	if fault := limitFault(n, v, `in:"[0,1]"`); fault != "" {
		d.report(n, path, "%s", fault)
	}
	*c = Chance(p)
}

// Anchors says where the anchor boxes come from: "published" with the
// architecture, "kmeans" over the training boxes, or "list" for Pairs, width
// and height in pixels of the network's input.
type Anchors struct {
	Kind  string
	Pairs [][2]float64
}

func (a *Anchors) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode {
		d.scalar(n, reflect.ValueOf(&a.Kind).Elem(), path, `choice:"published|kmeans"`)
		return
	}
	a.Kind = "list"
	d.list(n, reflect.ValueOf(&a.Pairs).Elem(), path, `in:"(0,4096]"`)
	if len(n.Content) == 0 {
		d.report(n, path, "is empty; list [width, height] pairs, or write published or kmeans")
	}
}

func (a Anchors) encodeForm() any {
	if a.Kind == "list" {
		return a.Pairs
	}
	return a.Kind
}

func (*Distill) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(n, path, "%s is not a mapping of keys to values", describe(n))
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		d.report(n.Content[i], join(path, n.Content[i].Value), "distillation is not supported yet; leave distill empty ({})")
	}
}

// LayerRatios has the fraction to remove by layer, range, name or type, as in
// skip.
type LayerRatios map[string]float64

func (l *LayerRatios) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(n, path, "%s is not a mapping of layers to fractions, such as {5: 0.3, 7-9: 0.5}", describe(n))
		return
	}
	*l = LayerRatios{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if _, twice := (*l)[key]; twice {
			d.report(n.Content[i], join(path, key), "stands twice")
		}
		var ratio float64
		d.scalar(n.Content[i+1], reflect.ValueOf(&ratio).Elem(), join(path, key), `in:"[0,1)"`)
		(*l)[key] = ratio
	}
}
