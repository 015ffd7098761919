package loop

import (
	"errors"
	"fmt"
	"math"

	"yoloprune/finetune/loss"
	"yoloprune/finetune/optim"
)

// Kind says what an alarm is about.
type Kind string

// The kinds of alarms.
const (
	NonFinite Kind = "non-finite" // a step was skipped
	LossSpike Kind = "loss-spike"
	FirstDrop Kind = "first-epoch-drop"
	EarlyStop Kind = "early-stop"
)

// Alarm is what a person should know of while training goes on.
type Alarm struct {
	Kind        Kind
	Epoch, Step int // counted from 1; Step 0: after the epoch
	Msg         string
}

func (h Hooks) alarm(k Kind, epoch, step int, format string, args ...any) {
	if h.Alarm != nil {
		h.Alarm(Alarm{k, epoch, step, fmt.Sprintf(format, args...)})
	}
}

// DivergedError is a loss, gradient or weight that is no longer finite.
type DivergedError struct {
	Epoch, Batch int // Batch is the step; 0: after the epoch
	Cause        error
	Layer        string // where it was found, such as "layer 12 (convolutional), gamma"
	Checkpoint   string // the last good one; empty if there is none
}

func (e *DivergedError) Error() string {
	kept := "nothing was saved before"
	if e.Checkpoint != "" {
		kept = "the last good checkpoint is kept: " + e.Checkpoint
	}
	at := fmt.Sprintf("in epoch %d, batch %d", e.Epoch, e.Batch)
	if e.Batch == 0 {
		at = fmt.Sprintf("at the end of epoch %d", e.Epoch)
	}
	return fmt.Sprintf("training diverged %s: %v, at %s; %s; try a lower lr, more warmup_epochs, or clip", at, e.Cause, e.Layer, kept)
}

func (e *DivergedError) Unwrap() error { return e.Cause }

var errWeights = errors.New("a weight is no longer finite")

// nonFinite says whether an error is that of a value that is NaN or infinite.
func nonFinite(err error) bool {
	var inHead *loss.NonFiniteError
	var inGradient *optim.NonFiniteError
	return errors.As(err, &inHead) || errors.As(err, &inGradient) || errors.Is(err, errWeights)
}

// guard deals with a step that failed: the first that is not finite is skipped
// and halves the learning rate from there on, the second ends the run.
func (t *trainer) guard(err error, epoch, step int, h Hooks) error {
	if !nonFinite(err) {
		return err
	}
	if t.halved {
		return t.diverged(err, epoch, step)
	}
	t.halved = true
	t.iteration++
	t.within.Steps++
	t.within.Failed++
	t.unsaved++
	t.sum.reset()
	culprit := t.culprit(err)
	t.restoreStatistics()
	h.alarm(NonFinite, epoch, step, "at %s: %v; the step is skipped and the learning rate halved for the rest of the stage; another such step ends it", culprit, err)
	return nil
}

// keepStatistics notes the running statistics before a step that may fail: a
// batch that overflows would leave them broken for good.
func (t *trainer) keepStatistics() {
	if t.halved {
		return
	}
	t.statistics = t.statistics[:0]
	for _, n := range t.g.Owners() {
		t.statistics = append(append(t.statistics, n.Weights.Mean...), n.Weights.Var...)
	}
}

func (t *trainer) restoreStatistics() {
	from := t.statistics
	for _, n := range t.g.Owners() {
		from = from[copy(n.Weights.Mean, from):]
		from = from[copy(n.Weights.Var, from):]
	}
}

func (t *trainer) diverged(err error, epoch, step int) error {
	d := &DivergedError{Epoch: epoch, Batch: step, Cause: err, Layer: t.culprit(err)}
	if t.saved {
		d.Checkpoint = t.checkpointPath()
	}
	return d
}

// culprit names the layer that a non-finite value comes from: the first whose
// weights are broken, else the gradient nearest to the heads, from where
// gradients spread, else the head that the loss found it in.
func (t *trainer) culprit(err error) string {
	for _, n := range t.g.Owners() {
		w := n.Weights
		for i, v := range [][]float32{w.Kernel, w.Bias, w.Gamma, w.Mean, w.Var} {
			if !finite(v) {
				return fmt.Sprintf("%v, %s", n, vectors[i])
			}
		}
	}
	var head *loss.NonFiniteError
	if errors.As(err, &head) {
		return fmt.Sprintf("%v", t.g.Heads()[head.Position.Head])
	}
	params := t.net.Params()
	for i := len(params) - 1; i >= 0; i-- {
		if p := params[i]; !finite(p.Grad) {
			return fmt.Sprintf("%v, gradient of the %v", t.g.Nodes[p.Node], p.Role)
		}
	}
	return "an unknown layer"
}

// vectors names a layer's weights, in the order of culprit and tensors.
var vectors = [...]string{"kernel", "bias", "gamma", "mean", "var"}

func finite(values []float32) bool {
	for _, v := range values {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}

// checkWeights keeps broken weights out of checkpoints.
func (t *trainer) checkWeights() error {
	for _, x := range tensors(t.g) {
		if !finite(x.Data) {
			return errWeights
		}
	}
	return nil
}

// spike watches the loss for steps that are far above the running mean of the
// last spikeWindow ones.
type spike struct {
	factor float64 // 0: off
	mean   float64
	seen   int
}

const (
	spikeWindow = 50
	spikeWarm   = 20 // losses seen before the first alarm
)

// add takes a step's loss and says whether it is a spike; spikes are not
// averaged.
func (s *spike) add(loss float64) bool {
	if s.factor > 0 && s.seen >= spikeWarm && loss > s.factor*s.mean {
		return true
	}
	s.seen++
	s.mean += (loss - s.mean) / math.Min(float64(s.seen), spikeWindow)
	return false
}

// watchLoss tells of the first spike of an epoch.
func (t *trainer) watchLoss(loss float64, epoch int, h Hooks) {
	mean := t.spike.mean
	if t.spike.add(loss) && t.spikeTold != epoch {
		t.spikeTold = epoch
		h.alarm(LossSpike, epoch, t.within.Steps, "the loss of a step is %.4g, %.1f times the mean of the steps before it, %.4g", loss, loss/mean, mean)
	}
}

// measureBefore takes the AP that fine-tuning must not lose.
func (t *trainer) measureBefore() error {
	if t.val == nil || t.o.DropAlarm == 0 {
		return nil
	}
	m, err := t.val.Run(t.g, nil)
	if err == nil {
		t.before = &m.AP
	}
	return err
}

// watchAP compares the first AP of the stage with that before it, and says
// when the stage has had no better AP for so long that it ends.
func (t *trainer) watchAP(r Epoch, h Hooks) {
	if t.before != nil && *t.before-r.AP > t.o.DropAlarm {
		h.alarm(FirstDrop, r.Number, 0, "AP fell from %.4f to %.4f; the learning rate may be too high for this network", *t.before, r.AP)
	}
	t.before = nil
	if t.o.Patience > 0 && r.Number-t.bestEpoch >= t.o.Patience && r.Number < r.Of {
		t.stopped = true
		h.alarm(EarlyStop, r.Number, 0, "no AP above that of epoch %d, %.4f, for %d epochs: the stage ends here", t.bestEpoch, t.best, r.Number-t.bestEpoch)
	}
}
