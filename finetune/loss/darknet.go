package loss

import (
	"fmt"
	"math"

	"yoloprune/datasets"
)

// Darknet is the backward pass of AlexeyAB's Darknet (src/yolo_layer.c,
// process_batch), for going on with a run that was begun there. Its deltas are
// the gradient of no function: for the boxes see boxDelta and darknetGradient.
// For objectness and classes, with y the target and p the probability,
//
//	delta(objectness) = obj_normalizer·(y − p)      delta(class) = y − p
//
// which is −dBCE/dt for a linear head; with new_coords the logistic in front
// multiplies by p(1−p) and makes it that of a squared error. Compute writes
// −delta over the number of images: Darknet divides by the batch when it updates
// the weights.
//
// Every image is worked on in three steps: all slots as background, all truths
// as positives, and the mean over a slot's truths. Settings that Options leaves
// zero are the keys of the head's [yolo] section.
//
// Quirks that are kept: a list of truths ends at one whose x is 0; for
// ignore_thresh a slot needs some class over 0.25, whichever; with
// objectness_smooth a positive slot is trained to 0 or to an IoU, hardly ever to
// 1; cls_normalizer acts on the true class alone, and only with class counts.
// Not kept: a truth at x = 1 lies in the last cell and not beyond it, and the
// arithmetic is float64. Not here: max=, which is the loader's business, and
// adversarial training.
type Darknet struct {
	network
	rules []darknetRules // of every head
}

// darknetRules are the settings of one head.
type darknetRules struct {
	box, obj, class                      float64 // iou_, obj_ and cls_normalizer
	ignoreThresh, truthThresh, iouThresh float64
	iou, assignKind                      string  // iou_loss, iou_thresh_kind
	limit                                float64 // max_delta, 0 for none
	smooth                               float64 // label_smooth_eps
	objSmooth, focalLoss                 bool
	weights                              []float64 // of the classes; nil: all 1
}

// NewDarknet makes the loss for heads of a network with a netW x netH input.
func NewDarknet(heads []Head, netW, netH, batch int, o Options) (*Darknet, error) {
	o = o.Complete()
	n, err := newNetwork(heads, netW, netH, batch, o, KindDarknet)
	if err != nil {
		return nil, fmt.Errorf("loss: %w", err)
	}
	l := &Darknet{network: n}
	for i := range l.heads {
		r := o.darknetRules(&l.heads[i], i)
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("loss: head %d: %w", i, err)
		}
		l.rules = append(l.rules, r)
	}
	return l, nil
}

// darknetRules completes the options with the head's own settings.
func (o *Options) darknetRules(h *head, index int) darknetRules {
	y := h.yolo
	r := darknetRules{
		box: orElse(o.Box, y.IoUNormalizer), obj: orElse(o.Obj, y.ObjNormalizer), class: orElse(o.Class, y.ClsNormalizer),
		ignoreThresh: orElse(o.IgnoreThresh, y.IgnoreThresh), truthThresh: y.TruthThresh, iouThresh: orElse(o.AssignIoU, y.IoUThresh),
		iou: textOr(o.IoULoss, y.IoULoss), assignKind: o.AssignKind,
		limit: y.MaxDelta, smooth: orElse(o.LabelSmooth, y.LabelSmooth), focalLoss: o.Focal != 0,
	}
	if n := len(o.ObjSmooth); n > 0 {
		r.objSmooth = o.ObjSmooth[min(index, n-1)]
	}
	limit := orElse(o.MaxWeight, y.MaxDelta)
	if limit == 0 {
		limit = math.Inf(1)
	}
	r.weights = classWeights(o.ClassCounts, limit)
	return r
}

func (r *darknetRules) check() error {
	if r.iou != "mse" && similarities[r.iou] == nil {
		return fmt.Errorf("iou_loss: unknown kind %q; use ciou, diou, giou, iou or mse", r.iou)
	}
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"iou_normalizer", r.box}, {"obj_normalizer", r.obj}, {"cls_normalizer", r.class}, {"ignore_thresh", r.ignoreThresh},
		{"truth_thresh", r.truthThresh}, {"iou_thresh", r.iouThresh}, {"max_delta", r.limit}, {"label_smooth_eps", r.smooth},
	} {
		if !(f.value >= 0 && f.value <= 1e6) {
			return fmt.Errorf("%s: %g is not in [0, 1e6]", f.name, f.value)
		}
	}
	return nil
}

// SetTruths implements Loss. See step positives for the assignment.
func (l *Darknet) SetTruths(truths [][]datasets.Truth) { l.setTruths(truths) }

// Compute implements Loss. The parts are what Darknet prints, a monitor and not
// a function with these gradients: with n heads and N images
//
//	box   = Σ_heads iou_normalizer·mean(1 − IoU) / (n·N)        GIoU for iou_loss=giou
//	obj   = Σ_heads obj_normalizer·Σ delta(objectness)² / (n·N)
//	class = Σ_heads obj_normalizer·Σ delta(class)² / (n·N)
//
// and with iou_loss=mse the sums of the squares of all deltas. The mean runs
// over the positives of the batch.
func (l *Darknet) Compute(outs, grads [][]float32) (Parts, error) {
	if err := l.check(outs, grads); err != nil {
		return Parts{}, err
	}
	p := Parts{Divisor: l.images}
	for i := range l.heads {
		pass := darknetPass{head: &l.heads[i], darknetRules: &l.rules[i], netW: l.netW, netH: l.netH, out: outs[i], delta: grads[i]}
		clear(grads[i])
		for image := range l.images {
			truths, _ := l.truthsOf(image)
			pass.image(image, endAtZero(truths))
		}
		pass.monitor(&p)
		scale := float32(-1 / float64(max(l.images, 1)))
		for j := range grads[i] {
			grads[i][j] *= scale
		}
	}
	k := 1 / float64(len(l.heads)*max(l.images, 1))
	p.Box, p.Obj, p.Class = k*p.Box, k*p.Obj, k*p.Class
	p.Total = p.Box + p.Obj + p.Class
	return p, nil
}

// endAtZero cuts a list of truths at the first with x = 0, which ends Darknet's
// fixed-size list.
func endAtZero(truths []truth) []truth {
	for i, t := range truths {
		if t.box.x == 0 {
			return truths[:i]
		}
	}
	return truths
}

// darknetPass is the work on one head's batch.
type darknetPass struct {
	*head
	*darknetRules
	netW, netH float64
	out, delta []float32

	sum   float64 // Σ 1 − IoU of the positives
	count int     // of the positives
}

func (d *darknetPass) image(image int, truths []truth) {
	for row := range d.rows {
		for col := range d.cols {
			for a := range d.anchors {
				d.background(d.slot(image, row, col, a), row, col, a, truths)
			}
		}
	}
	for i := range truths {
		d.positive(&truths[i])
	}
	if d.iouThresh >= 1 {
		return
	}
	for slot := image * d.slotsPerImage(); slot < (image+1)*d.slotsPerImage(); slot++ {
		d.average(slot)
	}
}

// probability is what objectness and classes predict.
func (h *head) probability(v float32) float64 {
	if h.yolo.NewCoords {
		return float64(v)
	}
	return logistic(float64(v))
}

// relative decodes a slot as Darknet does, in fractions of the input's sides
// and without a limit on the size.
func (d *darknetPass) relative(slot, row, col, anchor int) box {
	v, s, a := d.boxValues(d.out, slot), d.yolo.ScaleXY, d.anchors[anchor]
	b := box{
		(float64(col) + s*d.probability(v[0]) - (s-1)/2) / float64(d.cols), (float64(row) + s*d.probability(v[1]) - (s-1)/2) / float64(d.rows),
		math.Exp(float64(v[2])) * a[0] / d.netW, math.Exp(float64(v[3])) * a[1] / d.netH,
	}
	if d.yolo.NewCoords {
		b.w, b.h = 4*float64(v[2])*float64(v[2])*a[0]/d.netW, 4*float64(v[3])*float64(v[3])*a[1]/d.netH
	}
	return b
}

// fraction is a truth's box in fractions of the input's sides.
func (d *darknetPass) fraction(b box) box {
	return box{b.x / d.netW, b.y / d.netH, b.w / d.netW, b.h / d.netH}
}

// background sets a slot's objectness delta as if there were no truth in it:
//
//	obj_normalizer·(0 − p)
//
// unless some truth overlaps by an IoU over ignore_thresh and some class has a
// probability over 0.25. Then it is 0, or with objectness_smooth
// obj_normalizer·(IoU − p) if that is more. An IoU over truth_thresh makes the
// slot a positive at once.
func (d *darknetPass) background(slot, row, col, anchor int, truths []truth) {
	at := slot*d.per + 4
	p := d.probability(d.out[at])
	d.delta[at] = float32(-d.obj * p)
	if len(truths) == 0 {
		return
	}
	best, t := d.bestTruth(slot, row, col, anchor, truths)
	if best > d.ignoreThresh && d.anyClass(slot) {
		d.delta[at] = 0
		if d.objSmooth {
			d.delta[at] = float32(d.obj * max(best-p, -p))
		}
	}
	if best > d.truthThresh {
		d.atOnce(slot, row, col, anchor, &truths[t], best)
	}
}

func (d *darknetPass) bestTruth(slot, row, col, anchor int, truths []truth) (best float64, index int) {
	b := d.relative(slot, row, col, anchor)
	for i := range truths {
		if v := darknetIoU(b, d.fraction(truths[i].box)); v > best {
			best, index = v, i
		}
	}
	return best, index
}

func (d *darknetPass) anyClass(slot int) bool {
	at := slot*d.per + 5
	for _, v := range d.out[at : at+d.yolo.Classes] {
		if d.probability(v) > .25 {
			return true
		}
	}
	return false
}

// atOnce trains a slot whose box already overlaps a truth by more than
// truth_thresh. With objectness_smooth IoU² is the target of objectness and
// class.
func (d *darknetPass) atOnce(slot, row, col, anchor int, t *truth, iou float64) {
	at, y := slot*d.per, 1.
	if d.objSmooth {
		y = iou * iou
	}
	d.delta[at+4] = float32(d.obj * (y - d.probability(d.out[at+4])))
	d.classDelta(slot, t.class)
	if d.objSmooth {
		d.delta[at+5+t.class] = float32(weightOf(d.weights, t.class) * (y - d.probability(d.out[at+5+t.class])))
	}
	d.boxDelta(slot, row, col, anchor, t)
}

// positive trains the slots of the cell that holds the truth's centre: the
// anchor with the best shape IoU of all heads' if this head has it, and each
// other one whose shape is similar by more than iou_thresh.
func (d *darknetPass) positive(t *truth) {
	best := d.bestAnchor(t.box)
	row := min(max(int(t.box.y/d.strideY), 0), d.rows-1)
	col := min(max(int(t.box.x/d.strideX), 0), d.cols-1)
	shape := box{w: t.box.w / d.netW, h: t.box.h / d.netH}
	for a, m := range d.yolo.Mask {
		if m == best {
			d.train(d.slot(t.image, row, col, a), row, col, a, t)
		}
	}
	for m, anchor := range d.yolo.Anchors {
		a := d.anchorOf(m)
		if a < 0 || m == best || d.iouThresh >= 1 {
			continue
		}
		if darknetSimilarity(d.assignKind, box{w: anchor[0] / d.netW, h: anchor[1] / d.netH}, shape) > d.iouThresh {
			d.train(d.slot(t.image, row, col, a), row, col, a, t)
		}
	}
}

// anchorOf returns the place of anchor m in the head's mask, -1 without one.
func (d *darknetPass) anchorOf(m int) int {
	for a, k := range d.yolo.Mask {
		if k == m {
			return a
		}
	}
	return -1
}

// train adds a truth's deltas to a slot. With objectness_smooth the target 1 is
// set only where the background step has left exactly 0.
func (d *darknetPass) train(slot, row, col, anchor int, t *truth) {
	value := d.boxDelta(slot, row, col, anchor, t)
	d.sum += 1 - value
	d.count++
	if at := slot*d.per + 4; !d.objSmooth || d.delta[at] == 0 {
		d.delta[at] = float32(weightOf(d.weights, t.class) * d.obj * (1 - d.probability(d.out[at])))
	}
	d.classDelta(slot, t.class)
}

// classDelta sets the class deltas of a slot, y − p with y = (1−e) + e/2 for
// the truth's class and e/2 for the others. A slot that another truth has taken
// before is known by a delta that is not 0 at the truth's class: then only that
// one is set, so that the slot is trained to several classes. Darknet's focal
// loss, with p_t the probability of the truth's class,
//
//	(y − p)·½·(−(1−p_t)(2·p_t·ln p_t + p_t − 1))
//
// multiplies by dL/dp_t·p_t, as for a softmax; it knows neither smoothing nor
// weights.
func (d *darknetPass) classDelta(slot, class int) {
	at := slot*d.per + 5
	w := weightOf(d.weights, class)
	if d.delta[at+class] != 0 {
		d.delta[at+class] = float32(w * (1 - d.smooth/2 - d.probability(d.out[at+class])))
		return
	}
	if d.weights != nil {
		w *= d.class
	}
	smooth, factor := d.smooth, 1.
	if d.focalLoss {
		p := d.probability(d.out[at+class]) + 1e-15
		smooth, factor, w = 0, -.5*(1-p)*(2*p*math.Log(p)+p-1), 1
	}
	for c := range d.yolo.Classes {
		y, k := smooth/2, factor
		if c == class {
			y, k = 1-smooth/2, factor*w
		}
		d.delta[at+c] = float32(k * (y - d.probability(d.out[at+c])))
	}
}

// average divides a slot's box deltas by the number of classes that it is
// trained to. It passes over slots whose objectness delta is 0.
func (d *darknetPass) average(slot int) {
	at, n := slot*d.per, 0
	if d.delta[at+4] == 0 {
		return
	}
	for _, v := range d.delta[at+5 : at+d.per] {
		if v > 0 {
			n++
		}
	}
	for i := range 4 {
		d.delta[at+i] /= float32(max(n, 1))
	}
}

// monitor adds the head's share of the printed loss.
func (d *darknetPass) monitor(p *Parts) {
	var squares [3]float64 // of box, objectness and class deltas
	for i, v := range d.delta {
		term := min(max(i%d.per-3, 0), 2)
		squares[term] += float64(v) * float64(v)
	}
	p.Positives += d.count
	if d.iou == "mse" {
		p.Box, p.Obj, p.Class = p.Box+squares[0], p.Obj+squares[1], p.Class+squares[2]
		return
	}
	p.Box += d.box * d.sum / float64(max(d.count, 1))
	p.Obj += d.obj * squares[1]
	p.Class += d.obj * squares[2]
}
