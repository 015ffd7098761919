package term

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bar draws a bar over the whole stage, and above it a table with a row for
// each epoch.
type bar struct {
	screen *Screen
	bar    *mpb.Bar
	table  bool // the table's header has been written

	mu      sync.Mutex // what follows is drawn from another goroutine
	name    string
	epochs  int
	batches int
	epoch   int // finished ones
	batch   int // finished ones of the running epoch
	loss    float64
	ap50    float64
	end     time.Time // of the stage, as far as is known
	last    time.Time // of the last batch, zero at the start of an epoch
	pace    time.Duration
}

func (b *bar) Stage(name string, epochs, batches int) {
	b.Done()
	b.mu.Lock()
	b.name, b.epochs, b.batches = name, epochs, batches
	b.epoch, b.batch, b.loss, b.ap50 = 0, 0, 0, -1
	b.end, b.last, b.pace, b.table = time.Time{}, time.Time{}, 0, false
	b.mu.Unlock()
	b.show(mpb.WithOutput(b.screen.w))
}

func (b *bar) show(options ...mpb.ContainerOption) {
	bars := mpb.New(options...)
	// A total of 0 at the start keeps the bar open until Done.
	b.bar = bars.AddBar(0,
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return b.before() })),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return b.after() })))
	b.bar.SetTotal(int64(max(1, b.epochs*b.batches)), false)
	b.screen.mu.Lock()
	b.screen.bars = bars
	b.screen.mu.Unlock()
}

func (b *bar) Batch(i int, loss float64) {
	if b.bar == nil {
		return
	}
	b.mu.Lock()
	now := time.Now()
	b.setPace(now)
	b.last, b.batch, b.loss = now, i+1, loss
	done := b.epoch*b.batches + b.batch
	b.mu.Unlock()
	b.bar.SetCurrent(int64(done))
}

// setPace averages the time of a batch over about the last twenty. Validation
// between two epochs does not count.
func (b *bar) setPace(now time.Time) {
	switch {
	case b.last.IsZero():
	case b.pace == 0:
		b.pace = now.Sub(b.last)
	default:
		b.pace += (now.Sub(b.last) - b.pace) / 20
	}
}

func (b *bar) Epoch(s EpochStats) {
	if b.bar == nil {
		return
	}
	b.mu.Lock()
	b.epoch, b.batch, b.last = s.Epoch, 0, time.Time{}
	if s.AP50 >= 0 {
		b.ap50 = s.AP50
	}
	if s.ETA > 0 {
		b.end = time.Now().Add(s.ETA)
	}
	b.mu.Unlock()
	b.bar.SetCurrent(int64(s.Epoch * b.batches))
	if !b.table {
		b.table = true
		fmt.Fprintln(b.screen, Bold(b.screen.w, tableHeader(b.name)))
	}
	fmt.Fprintln(b.screen, tableRow(s))
}

// Done takes the bar away; the rows of the epochs stay.
func (b *bar) Done() {
	if b.bar == nil {
		return
	}
	b.screen.mu.Lock()
	defer b.screen.mu.Unlock()
	b.bar.Abort(true)
	b.screen.bars.Wait()
	b.bar, b.screen.bars = nil, nil
}

func (b *bar) before() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%s %d/%d ", b.name, min(b.epoch+1, b.epochs), b.epochs)
}

func (b *bar) after() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf(" loss %.4g", b.loss)
	if b.ap50 >= 0 {
		text += fmt.Sprintf("  AP50 %.3f", b.ap50)
	}
	if left := b.left(); left > 0 {
		text += "  eta " + Duration(left)
	}
	return text
}

// left is the time until the stage's end: what the last epoch's figures said,
// or before that what the batches so far promise.
func (b *bar) left() time.Duration {
	if !b.end.IsZero() {
		return max(0, time.Until(b.end))
	}
	return time.Duration(b.epochs*b.batches-b.epoch*b.batches-b.batch) * b.pace
}

func tableHeader(stage string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%12s", stage)
	for _, c := range columns {
		fmt.Fprintf(&s, " %*s", c.width, c.name)
	}
	return s.String()
}

func tableRow(e EpochStats) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%12s", fmt.Sprintf("%d/%d", e.Epoch, e.Epochs))
	for _, c := range columns {
		text := c.text(e)
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(&s, " %*s", c.width, text)
	}
	return s.String()
}
