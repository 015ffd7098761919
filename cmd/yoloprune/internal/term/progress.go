package term

import (
	"log/slog"
	"strconv"
	"time"
)

// Progress is told how a long piece of work gets on. Its methods are called
// from one goroutine.
type Progress interface {
	// Stage begins a piece of work of so many epochs, each of so many batches.
	Stage(name string, epochs, batches int)
	// Batch says that batch i, from 0 on, of the running epoch is done.
	Batch(i int, loss float64)
	// Epoch says that an epoch is done and measured.
	Epoch(s EpochStats)
	// Done ends the stage, finished or not.
	Done()
}

// EpochStats are the figures of one epoch. AP, AP50 and NearZero are negative
// or NaN when they were not measured.
type EpochStats struct {
	Epoch, Epochs         int // Epoch counts from 1
	LR                    float64
	Loss, Box, Obj, Class float64 // means over the epoch
	AP, AP50              float64
	NearZero              float64 // fraction of the batch norms' gamma that is near zero
	Seconds               float64
	ETA                   time.Duration // until the stage's end
}

// silent shows nothing.
type silent struct{}

func (silent) Stage(string, int, int) {}
func (silent) Batch(int, float64)     {}
func (silent) Epoch(EpochStats)       {}
func (silent) Done()                  {}

// lines writes a line in the log for each epoch.
type lines struct {
	log   *slog.Logger
	stage string
}

func (l *lines) Stage(name string, epochs, batches int) {
	l.stage = name
	l.log.Info("stage", "name", name, "epochs", epochs, "batches", batches)
}

func (l *lines) Batch(int, float64) {}

func (l *lines) Epoch(s EpochStats) {
	attrs := []any{
		"stage", l.stage,
		"epoch", strconv.Itoa(s.Epoch) + "/" + strconv.Itoa(s.Epochs),
	}
	for _, c := range columns {
		if text := c.text(s); text != "" {
			attrs = append(attrs, c.name, text)
		}
	}
	l.log.Info("epoch", attrs...)
}

func (l *lines) Done() {}

// column is one figure of an epoch; its text is empty when it is not known.
type column struct {
	name  string
	width int
	text  func(EpochStats) string
}

var columns = []column{
	{"lr", 9, func(s EpochStats) string { return strconv.FormatFloat(s.LR, 'g', 3, 64) }},
	{"loss", 8, func(s EpochStats) string { return significant(s.Loss) }},
	{"box", 8, func(s EpochStats) string { return significant(s.Box) }},
	{"obj", 8, func(s EpochStats) string { return significant(s.Obj) }},
	{"class", 8, func(s EpochStats) string { return significant(s.Class) }},
	{"AP", 7, func(s EpochStats) string { return known(s.AP) }},
	{"AP50", 7, func(s EpochStats) string { return known(s.AP50) }},
	{"near_zero", 10, func(s EpochStats) string { return known(s.NearZero) }},
	{"seconds", 8, func(s EpochStats) string { return strconv.FormatFloat(s.Seconds, 'f', 1, 64) }},
	{"eta", 8, func(s EpochStats) string { return Duration(s.ETA) }},
}

func significant(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

func known(fraction float64) string {
	if !(fraction >= 0) {
		return ""
	}
	return strconv.FormatFloat(fraction, 'f', 4, 64)
}
