package configs

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// setDefaults fills a section, given by pointer, before the file is read into
// it. The sections before it in Experiment have been read by then.
func (e *Experiment) setDefaults(section any) {
	switch s := section.(type) {
	case *Experiment:
		s.Seed = 1
		s.Data.Format = "coco"
		s.Val = Val{Protocol: "coco", Conf: 0.001, NMS: 0.65, NMSKind: "default", MaxDet: 300}
	case *Toy:
		*s = Toy{Images: 520, Seed: 1}
	case *Training:
		*s = Training{
			Epochs: 60, Batch: 8, Accumulate: 1,
			Optimizer: "adamw", LR: 0.002, LRFinal: 0.02, Momentum: 0.9, Betas: [2]float64{0.9, 0.99}, WeightDecay: 0.02,
			LRSchedule: "cosine", Steps: []float64{0.8, 0.9}, Scales: []float64{0.1, 0.1}, WarmupEpochs: 3,
			MomentumStyle: "pytorch", Cycle: 0.25, CycleMult: 1, Power: 4,
			Warmup: "linear", WarmupPower: 4, WarmupBiasLR: 0.1, WarmupMomentum: 0.8,
			EMA: 0.998, EMARamp: 150, Clip: 10, BNMomentum: 0.03,
			Mosaic: fair, MosaicOff: 0.1, Scale: 0.3, Flip: fair, HSV: [3]float64{0.015, 0.5, 0.35},
			Loss:     Loss{Box: 3, Obj: 1, Class: 1, IoU: "ciou", AssignIoU: 0.213, Ignore: 0.7},
			ValEvery: 1, Keep: "last", SpikeAlarm: 10, CheckpointMinutes: 10,
		}
	case *Sparsify:
		*s = Sparsify{Training: e.inherited(), Method: "subgradient", Schedule: "constant"}
		s.Patience, s.Keep = 0, "last" // the AP falls as the network gets sparse
	case *Finetune:
		s.Training = e.inherited()
		s.LR /= 2
		s.DropAlarm = 0.05
	case *Prune:
		*s = Prune{Criterion: "bn-scale-filter", Combine: "sum", Members: "none", Strategy: "greedy", Grain: "channel", Align: 8, Floor: 0.1, Fold: "beta", Candidates: 30, Recalibrate: 200}
	case *Report:
		*s = Report{HTML: true, Samples: 4}
	}
}

func (e *Experiment) inherited() Training {
	if e.Train != nil {
		return *e.Train
	}
	var t Training
	e.setDefaults(&t)
	return t
}

// settle fills what depends on other values, after everything is read.
func (e *Experiment) settle() {
	if e.Name == "" {
		e.Name = strings.TrimSuffix(filepath.Base(e.doc.file), filepath.Ext(e.doc.file))
	}
	e.Model.settle()
	if e.Data.Format == "toy" {
		e.settleToy()
	}
	for _, t := range e.trainings() {
		if !e.doc.has(t.key + ".warmup_epochs") {
			t.WarmupEpochs = min(t.WarmupEpochs, float64(t.Epochs)/10)
		}
	}
	for i := range e.Prune {
		e.Prune[i].settle()
	}
	if s := e.Sparsify; s != nil && !e.doc.has("sparsify.strength") && !e.doc.has("sparsify.shrink") {
		s.Strength = 1e-3
	}
}

// settle clears what has no effect, and completes normalize: a global threshold
// compares the gammas as they are, the other strategies' scores are norms, whose
// size differs by layer.
func (p *Prune) settle() {
	useless := p.useless()
	for _, f := range fieldsOf(reflect.TypeFor[Prune]()) {
		if slices.Contains(useless, f.key) {
			reflect.ValueOf(p).Elem().FieldByIndex(f.index).SetZero()
		}
	}
	switch {
	case p.Normalize != "" || p.Strategy == "":
	case p.Strategy == "global" || p.Strategy == "regular":
		p.Normalize = "none"
	default:
		p.Normalize = "layer"
	}
}

func (m *Model) settle() {
	if m.Arch == "" {
		return
	}
	if m.Width == 0 {
		m.Width = 1
	}
	if m.Input == (Size{}) {
		m.Input = Size{416, 416}
	}
	if m.Anchors.Kind == "" {
		m.Anchors.Kind = "published"
	}
}

func (e *Experiment) settleToy() {
	d := &e.Data
	if d.Toy == nil {
		d.Toy = new(Toy)
		e.setDefaults(d.Toy)
	}
	for _, s := range []struct {
		key   string
		split **Split
	}{{"train", &d.Train}, {"val", &d.Val}, {"test", &d.Test}} {
		if *s.split == nil {
			*s.split = &Split{Images: "images", Annotations: "annotations/" + s.key + ".json"}
		}
	}
}

// stage is a stage that trains, with its key.
type stage struct {
	key string
	*Training
}

func (e *Experiment) trainings() []stage {
	var all []stage
	if e.Train != nil {
		all = append(all, stage{"train", e.Train})
	}
	if e.Sparsify != nil {
		all = append(all, stage{"sparsify", &e.Sparsify.Training})
	}
	if e.Finetune != nil {
		all = append(all, stage{"finetune", &e.Finetune.Training})
	}
	return all
}
