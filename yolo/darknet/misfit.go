package darknet

import (
	"fmt"

	"yoloprune/yolo/graph"
)

const (
	otherNetwork = "the weights are probably those of another network: use the cfg that they were saved with, or leave them out and train anew"
	badValues    = "the file is damaged or its training diverged: use an earlier one"
)

// wrongLength explains a file of known length that is not the right one. It
// reads on, without keeping anything, to find where the file stops fitting.
func (d *weightsReader) wrongLength(g *graph.Graph, list []array, body int64) error {
	_, bad, err := d.arrays(list, false)
	if err != nil {
		return err
	}
	return d.describe(g, list, bad, body)
}

// describe explains a file whose floats take body bytes, which is not the
// right number.
func (d *weightsReader) describe(g *graph.Graph, list []array, bad *misfit, body int64) error {
	return d.errorf("holds %s, the network needs %d: %s", floatsIn(body), total(list), where(g, list, bad, body))
}

func floatsIn(bytes int64) string {
	s := fmt.Sprintf("%d floats", bytes/4)
	if odd := bytes % 4; odd != 0 {
		s += fmt.Sprintf(" and %d bytes", odd)
	}
	return s
}

// where names the first layer that does not fit a file of the wrong length.
// Bytes carry no marks, so there are three ways to find it: another class
// count in the heads explains the length; a value is impossible, negative
// variances above all, as they come up soon once the file is out of step; or
// the file ends early or late.
func where(g *graph.Graph, list []array, bad *misfit, body int64) string {
	if msg := otherClasses(g, list, bad, body); msg != "" {
		return msg
	}
	switch {
	case len(list) == 0:
		return "it has no layer with weights"
	case bad == nil:
		return fmt.Sprintf("all layers are read, and the file goes on after %v; %s", list[len(list)-1].node, otherNetwork)
	case bad.end:
		return whereItEnds(list, bad, body)
	}
	n := list[bad.index].node
	msg := fmt.Sprintf("%v is the first layer that does not fit: %s", n, bad.what)
	if before := convBefore(list, bad.index); before != nil {
		msg += fmt.Sprintf(", unless it is %v already, whose kernel stands before that", before)
	}
	return msg + "; " + otherNetwork
}

// whereItEnds explains a file that ends early. One that ends with a layer is
// what Darknet's "partial" command writes.
func whereItEnds(list []array, bad *misfit, body int64) string {
	msg := fmt.Sprintf("%v is the first layer that does not fit: %s", list[bad.index].node, bad.what)
	if _, partial := layersIn(list, body); partial {
		return msg + fmt.Sprintf("; it is probably a partial file of the layers up to %v, which only start a training: name it as model.backbone", list[bad.index-1].node)
	}
	return msg + "; copy the file again if it was cut short, else " + otherNetwork
}

// convBefore returns the convolution before the one that owns array i, or nil.
func convBefore(list []array, i int) *graph.Node {
	for j := i; j >= 0; j-- {
		if list[j].node != list[i].node {
			return list[j].node
		}
	}
	return nil
}

// otherClasses says which class count of the heads makes the file's length
// right, if one does and nothing before the first head speaks against it.
//
// With F floats in the body, F0 of them outside the convolutions that feed
// heads, and a head's filters = anchors*(5+classes) of 1+k floats each,
//
//	classes = (F - F0) / sum(anchors*(1+k)) - 5
func otherClasses(g *graph.Graph, list []array, bad *misfit, body int64) string {
	var first *graph.Node
	var yolo *graph.Yolo
	perClass, rest := int64(0), body/4
	for _, h := range g.Heads() {
		n := headConv(g, h)
		if n == nil {
			return ""
		}
		if first == nil {
			first, yolo = n, h.Yolo()
		}
		perFilter := int64(1 + n.Conv().KernelLen(g.ShapeOf(n.Inputs[0]).C)/n.Conv().Filters)
		perClass += int64(len(h.Yolo().Mask)) * perFilter
		rest += int64(n.Conv().Filters) * perFilter
	}
	if first == nil || bad != nil && list[bad.index].node.ID < first.ID {
		return ""
	}
	rest -= total(list)
	classes := rest/perClass - 5
	if body%4 != 0 || rest%perClass != 0 || classes < 1 {
		return ""
	}
	return fmt.Sprintf("%v is the first layer that does not fit: the file has heads for %d classes (%d filters), the cfg for %d (%d filters); set classes and filters alike, or train anew for your classes",
		first, classes, len(yolo.Mask)*(5+int(classes)), yolo.Classes, first.Conv().Filters)
}

// headConv returns the plain convolution, with weights of its own, that a head
// reads, or nil.
func headConv(g *graph.Graph, head *graph.Node) *graph.Node {
	id := head.Inputs[0]
	if id == graph.Input {
		return nil
	}
	if c := g.Nodes[id].Conv(); c == nil || c.BatchNorm || c.Back != 0 {
		return nil
	}
	return g.Nodes[id]
}

// damaged explains an impossible value in a file of the right length.
func (d *weightsReader) damaged(a array, bad *misfit) error {
	hint := badValues
	if a.Role == "variance" {
		hint = "the file is damaged, or " + otherNetwork
	}
	return d.errorf("%v does not fit: %s; %s", a.node, bad.what, hint)
}
