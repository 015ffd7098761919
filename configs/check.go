package configs

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// check holds the rules between values.
func (e *Experiment) check(d *decoder) {
	report := func(path, format string, args ...any) {
		d.report(d.doc.nearestNode(path), path, format, args...)
	}
	e.checkName(report)
	e.checkModel(report)
	e.checkData(report)
	for _, t := range e.trainings() {
		t.check(d.doc, report)
	}
	e.checkSparsify(report)
	e.checkCuts(report)
	e.checkNeeds(report)
}

// reporter notes what is wrong with the value at a path.
type reporter func(path, format string, args ...any)

var folderName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

func (e *Experiment) checkName(report reporter) {
	if !folderName.MatchString(e.Name) {
		report("name", "%q cannot name the run folder; use up to 100 letters, digits, dots, hyphens and underscores", shorten(e.Name))
	}
}

func (e *Experiment) checkModel(report reporter) {
	m, has := &e.Model, e.doc.has
	arch, cfg := m.Arch != "" || has("model.arch"), m.Cfg != "" || has("model.cfg")
	switch {
	case arch && cfg:
		report("model", "both arch and cfg are given; the network comes from one of them")
	case !arch && !cfg:
		report("model", "neither arch nor cfg is given; name a built-in architecture or a Darknet cfg")
	case cfg:
		for _, key := range []string{"model.width", "model.anchors"} {
			if has(key) {
				report(key, "changes a built-in architecture (arch) only; this network comes from cfg")
			}
		}
	}
	if m.Weights != "" && m.Backbone != "" {
		report("model.backbone", "gives the first layers' weights, and weights gives all; leave one out")
	}
}

func (e *Experiment) checkData(report reporter) {
	d := &e.Data
	if d.Format != "toy" && (d.Toy != nil || e.doc.has("data.toy")) {
		report("data.toy", "belongs to format toy; the format is %s", d.Format)
	}
	trains := len(e.trainings()) > 0
	for _, c := range e.Prune {
		trains = trains || c.Recalibrate > 0
	}
	e.checkSplit("data.train", d.Train, trains, report)
	e.checkSplit("data.val", d.Val, true, report)
	e.checkSplit("data.test", d.Test, false, report)
}

func (e *Experiment) checkSplit(path string, s *Split, needed bool, report reporter) {
	if s == nil {
		if needed && !e.doc.has(path) {
			report(path, "is missing; give its images and annotations")
		}
		return
	}
	lists := e.Data.Format == "darknet" || e.Data.Format == "yolo"
	if lists && s.Images != "" {
		report(path+".images", "has no effect: format %s lists its images; leave it out", e.Data.Format)
	}
	if !lists && e.Data.Format != "voc" && s.Images == "" && !e.doc.has(path+".images") {
		report(path, "has no images; give their folder")
	}
	if s.Annotations == "" {
		report(path, "has no annotations; give the file")
	}
}

func (t stage) check(doc *document, report reporter) {
	at := func(key string) string { return t.key + "." + key }
	if doc.has(at("warmup_epochs")) && t.WarmupEpochs > float64(t.Epochs) {
		report(at("warmup_epochs"), "%v is more than the stage's %d epochs", t.WarmupEpochs, t.Epochs)
	}
	if doc.has(at("optimizer")) && t.Optimizer == "sgd" && !(doc.has(at("lr")) && doc.has(at("weight_decay"))) {
		report(at("optimizer"), "sgd needs lr and weight_decay beside it; the defaults are adamw's, and about 0.05 and 0.0005 suit sgd")
	}
	if t.Nesterov && t.Momentum == 0 {
		report(at("nesterov"), "needs a momentum above 0")
	}
	if doc.has(at("optimizer")) && t.Optimizer == "adam" && !doc.has(at("weight_decay")) {
		report(at("optimizer"), "adam needs weight_decay beside it: the default is adamw's, which does not go through the gradient; 0 or about 0.0005 suits adam")
	}
	if t.Nesterov && t.MomentumStyle == "darknet" {
		report(at("momentum_style"), "darknet has no nesterov; leave one of the two out")
	}
	if !slices.IsSorted(t.Steps) {
		report(at("steps"), "%v do not rise", t.Steps)
	}
	if len(t.Steps) != len(t.Scales) {
		report(at("steps"), "has %d values and scales has %d; each step needs its scale", len(t.Steps), len(t.Scales))
	}
}

func (e *Experiment) checkSparsify(report reporter) {
	s := e.Sparsify
	if s == nil {
		return
	}
	if s.Shrink > 0 && s.Strength > 0 {
		report("sparsify.shrink", "takes the place of strength; give one of the two")
	}
	if s.Shrink > 0 && s.Method != "proximal" {
		report("sparsify.shrink", "needs method proximal; the method is %s", s.Method)
	}
}

func (e *Experiment) checkCuts(report reporter) {
	for i, p := range e.Prune {
		path := e.CutPath(i)
		switch {
		case p.Plan != "":
			e.checkUseless(p, path, "has no effect: plan says what is kept; leave one of the two out", report)
		case p.Blocks != 0 && !e.doc.has(path+".target"):
			e.checkUseless(p, path, "has no effect on whole blocks; give target too, and channels are cut as well", report)
		case p.Strategy == "layers":
			if e.doc.has(path + ".target") {
				report(path+".target", "has no effect: the strategy layers takes its ratios from layers; leave one of the two out")
			}
			if len(p.Layers) == 0 {
				report(path, "has no layers; the strategy layers needs a fraction for each layer that is cut, such as {5: 0.3}")
			}
		default:
			e.checkTarget(path+".target", report)
		}
		if p.Strategy != "layers" && e.doc.has(path+".layers") {
			report(path+".layers", "is for the strategy layers, not for %s", p.Strategy)
		}
	}
}

func (e *Experiment) checkUseless(p Prune, path, msg string, report reporter) {
	for _, key := range p.useless() {
		if e.doc.has(join(path, key)) {
			report(join(path, key), "%s", msg)
		}
	}
}

func (e *Experiment) checkTarget(path string, report reporter) {
	var given []string
	for _, key := range keysOf(reflect.TypeFor[Target]()) {
		if e.doc.has(join(path, key)) {
			given = append(given, key)
		}
	}
	switch {
	case len(given) == 0 && !e.doc.has(path):
		report(path, "is missing; give flops, params, ratio, bytes or latency: the fraction to remove; or blocks or plan in its place")
	case len(given) == 0:
		report(path, "is empty; give flops, params, ratio, bytes or latency: the fraction to remove")
	case len(given) > 1:
		report(path, "has %s; give one of them", strings.Join(given, " and "))
	}
}

// CutPath returns the path of a cut, which the file may write without a list.
func (e *Experiment) CutPath(i int) string {
	if path := fmt.Sprintf("prune[%d]", i); e.doc.has(path) {
		return path
	}
	return "prune"
}

// checkNeeds finds stages that nothing has been trained for.
func (e *Experiment) checkNeeds(report reporter) {
	if e.Finetune != nil && e.Prune == nil {
		report("finetune", "repairs a network that was cut, but nothing is cut; add a prune section or leave this one out")
		return
	}
	trained := e.Model.Weights != "" || e.doc.has("train") || e.doc.has("sparsify")
	switch {
	case trained:
	case e.Prune != nil:
		report("prune", "needs a trained network; give model.weights or a train stage")
	default:
		report("model", "has no weights and nothing trains it; give model.weights or a train stage")
	}
	if e.Report != nil && e.Report.ScratchControl && e.Prune == nil {
		report("report.scratch_control", "needs a prune stage: it trains the cut network from new weights")
	}
}
