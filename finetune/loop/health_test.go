package loop

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"yoloprune/finetune/loss"
	"yoloprune/finetune/optim"
	"yoloprune/yolo/graph"
)

var nan = float32(math.NaN())

// breaker makes a weight NaN after some step and mends it at the alarm.
type breaker struct {
	g      *graph.Graph
	at     int
	steps  int
	kept   float32
	alarms []Alarm
	rates  []float64
}

func (b *breaker) weight() *float32 {
	owners := b.g.Owners()
	return &owners[len(owners)-1].Weights.Bias[0]
}

func (b *breaker) hooks() Hooks {
	return Hooks{
		Batch: func(int, float64) {
			if b.steps++; b.steps == b.at {
				b.kept, *b.weight() = *b.weight(), nan
			}
		},
		Alarm: func(a Alarm) {
			b.alarms = append(b.alarms, a)
			*b.weight() = b.kept
		},
		Epoch: func(e Epoch) { b.rates = append(b.rates, e.LR) },
	}
}

// The first step that is not finite is skipped, with all its micro-batches, and
// halves the learning rate; a run that goes on from a later checkpoint agrees.
func TestNonFiniteStepIsSkipped(t *testing.T) {
	set := scenes(t, "train")
	run := func(folder string, ctx context.Context, at int, resume bool) (*breaker, error) {
		b := &breaker{g: network(t, 3), at: at}
		o := settings(folder)
		o.Batch, o.Accumulate, o.Epochs, o.EMA = 2, 2, 3, 0
		o.Rate = Rate{Schedule: "constant"}
		h := b.hooks()
		if ctx != nil {
			stopping, stop := context.WithCancel(ctx)
			defer stop()
			h.Epoch = func(Epoch) { stop() }
			ctx = stopping
		} else {
			ctx = context.Background()
		}
		return b, Run(ctx, b.g, set, nil, o, h, resume)
	}
	b, err := run("", nil, 2, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.alarms) != 1 || b.alarms[0].Kind != NonFinite || b.alarms[0].Epoch != 1 || b.alarms[0].Step != 3 ||
		!strings.Contains(b.alarms[0].Msg, "(convolutional), bias") {
		t.Errorf("alarms %+v: want one, of step 3, that names the bias", b.alarms)
	}
	if want := 3*(set.Len()/4) - 1; b.steps != want {
		t.Errorf("%d steps were taken, want %d", b.steps, want)
	}
	for _, lr := range b.rates {
		if lr != 0.001 {
			t.Errorf("learning rates %v, want 0.001, half of what was asked for", b.rates)
		}
	}
	folder := t.TempDir()
	if _, err := run(folder, context.Background(), 2, false); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	again, err := run(folder, nil, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if !sameWeights(b.g, again.g) {
		t.Error("a run resumed after the skipped step has other weights than an unbroken one")
	}
}

// A weight that stays broken ends the run at the second step, and no checkpoint
// holds it.
func TestBrokenWeightEndsTheRun(t *testing.T) {
	folder := t.TempDir()
	b := &breaker{g: network(t, 3), at: 2}
	o := settings(folder)
	h := b.hooks()
	h.Alarm = nil
	err := Run(context.Background(), b.g, scenes(t, "train"), nil, o, h, false)
	var d *DivergedError
	if !errors.As(err, &d) || d.Epoch != 1 || d.Batch != 4 || d.Checkpoint != "" {
		t.Fatalf("error %v, want a DivergedError of step 4 without a checkpoint", err)
	}
	if want := "at layer 36 (convolutional), bias"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v: want %q", err, want)
	}
	b = &breaker{g: network(t, 3), at: 3}
	o.CheckpointSteps = 1
	err = Run(context.Background(), b.g, scenes(t, "train"), nil, o, b.hooks(), false)
	if !errors.As(err, &d) || d.Batch != 3 || d.Checkpoint == "" || !errors.Is(err, errWeights) {
		t.Errorf("error %v, want one before the checkpoint of step 3", err)
	}
}

func TestCulprit(t *testing.T) {
	open := func() *trainer {
		tr, err := newTrainer(network(t, 3), scenes(t, "train"), nil, settings(""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tr.close)
		return tr
	}
	for _, c := range []struct {
		what  string
		spoil func(*trainer) error
		want  string
	}{
		{"weights, the first", func(tr *trainer) error {
			tr.g.Nodes[4].Weights.Var[0], tr.g.Nodes[2].Weights.Gamma[1] = nan, float32(math.Inf(1))
			return errWeights
		}, "layer 2 (convolutional), gamma"},
		{"gradients, the last", func(tr *trainer) error {
			p := tr.net.Params()
			p[0].Grad[0], p[4].Grad[0] = nan, nan
			return &optim.NonFiniteError{Slot: p[0].Name()}
		}, "layer 1 (convolutional), gradient of the"},
		{"a head", func(tr *trainer) error {
			return &loss.NonFiniteError{Position: loss.Position{Head: 1}}
		}, "layer 37 (yolo)"},
	} {
		tr := open()
		if got := tr.culprit(c.spoil(tr)); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestSpike(t *testing.T) {
	s := spike{factor: 10}
	if s.add(1); s.add(1000) {
		t.Error("an alarm before there is a mean")
	}
	s = spike{factor: 10}
	for range spikeWarm {
		s.add(2)
	}
	for _, c := range []struct {
		loss float64
		want bool
	}{{20.1, true}, {19.9, false}, {1e9, true}, {5, false}} {
		if got := s.add(c.loss); got != c.want {
			t.Errorf("loss %g: spike %v, want %v", c.loss, got, c.want)
		}
	}
	if want := 2 + 17.9/21; math.Abs(s.mean-(want+(5-want)/22)) > 1e-12 {
		t.Errorf("mean %g: want spikes left out", s.mean)
	}
	off := spike{}
	for range 100 {
		off.add(1)
	}
	if off.add(1e9) {
		t.Error("an alarm though it is off")
	}
}

func TestSpikeAlarmOncePerEpoch(t *testing.T) {
	set := scenes(t, "train")
	o := settings("")
	o.Batch, o.SpikeAlarm = 1, 1e-3
	var epochs []int
	h := Hooks{Alarm: func(a Alarm) {
		if a.Kind == LossSpike {
			epochs = append(epochs, a.Epoch)
		}
	}}
	if err := Run(context.Background(), network(t, 3), set, nil, o, h, false); err != nil {
		t.Fatal(err)
	}
	if first := spikeWarm/set.Len() + 1; len(epochs) != 4-first+1 || epochs[0] != first || epochs[len(epochs)-1] != 4 {
		t.Errorf("alarms in epochs %v, want one in each from %d to 4", epochs, first)
	}
}

func TestFirstDropAlarm(t *testing.T) {
	for _, c := range []struct {
		before, after float64
		want          int
	}{{0.5, 0.44, 1}, {0.5, 0.46, 0}, {0.2, 0.9, 0}} {
		tr := &trainer{o: Options{DropAlarm: 0.05}, before: &c.before}
		n := 0
		h := Hooks{Alarm: func(a Alarm) {
			if n++; a.Kind != FirstDrop || a.Epoch != 1 {
				t.Errorf("alarm %+v", a)
			}
		}}
		tr.watchAP(Epoch{Number: 1, Of: 9, AP: c.after}, h)
		tr.watchAP(Epoch{Number: 2, Of: 9, AP: 0}, h)
		if n != c.want {
			t.Errorf("AP %g, then %g: %d alarms, want %d", c.before, c.after, n, c.want)
		}
	}
	set := scenes(t, "train")
	o := settings(t.TempDir())
	o.DropAlarm = 0.05
	tr, err := newTrainer(network(t, 3), set, validator(t, set), o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	if _, err := tr.start(false); err != nil || tr.before == nil || *tr.before < 0 {
		t.Errorf("AP before the first step: %v, error %v", tr.before, err)
	}
}

// With rates so low that nothing changes, epoch 1 stays the best.
func TestEarlyStop(t *testing.T) {
	set, folder := scenes(t, "train"), t.TempDir()
	o := settings(folder)
	o.Epochs, o.ValEvery, o.Patience, o.LR, o.BNMomentum = 9, 1, 2, 1e-12, 1e-9
	run := func(resume bool) (*graph.Graph, int, []Alarm) {
		g := network(t, 3)
		last, alarms := 0, []Alarm(nil)
		h := Hooks{Epoch: func(e Epoch) { last = e.Number }, Alarm: func(a Alarm) { alarms = append(alarms, a) }}
		if err := Run(context.Background(), g, set, validator(t, set), o, h, resume); err != nil {
			t.Fatal(err)
		}
		return g, last, alarms
	}
	g, last, alarms := run(false)
	if last != 3 || len(alarms) != 1 || alarms[0].Kind != EarlyStop || alarms[0].Epoch != 3 {
		t.Errorf("the last epoch is %d, alarms %+v; want a stop after epoch 3", last, alarms)
	}
	again, last, _ := run(true)
	if last != 0 || !sameWeights(g, again) {
		t.Errorf("resumed: trained on to epoch %d, or with other weights", last)
	}
}

// A batch whose variance overflows, though its outputs do not, leaves the running
// statistics as they were before it.
func TestSkippedStepKeepsRunningStatistics(t *testing.T) {
	set := scenes(t, "train")
	tr, err := newTrainer(network(t, 3), set, nil, settings(""))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	before := tr.g.Clone()
	for b, err := range tr.loader.Epoch(0, false) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Images {
			b.Images[i] = 1e25 * float32(i%7)
		}
		_, _, err = tr.micro(b)
		if !nonFinite(err) {
			t.Fatalf("error %v, want one of a value that is not finite", err)
		}
		var alarms int
		if err := tr.guard(err, 1, 1, Hooks{Alarm: func(Alarm) { alarms++ }}); err != nil || alarms != 1 {
			t.Errorf("error %v, %d alarms; want one alarm", err, alarms)
		}
		break
	}
	if !sameWeights(before, tr.g) {
		t.Error("the skipped step changed weights or running statistics")
	}
}
