package term

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"
	"pgregory.net/rapid"
)

// buffer can be written from the bar's goroutine and read from the test's.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func stats(epoch int) EpochStats {
	return EpochStats{
		Epoch: epoch, Epochs: 2, LR: 0.002, Loss: 3.25, Box: 1.5, Obj: 1.25, Class: 0.5,
		AP: 0.4321, AP50: 0.8765, NearZero: math.NaN(), Seconds: 4.25, ETA: 75 * time.Second,
	}
}

func play(p Progress) {
	p.Stage("train", 2, 3)
	for epoch := 1; epoch <= 2; epoch++ {
		for i := range 3 {
			p.Batch(i, 3.25)
		}
		p.Epoch(stats(epoch))
	}
	p.Done()
}

func logTo(w *Screen) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestLinesWithoutTerminal(t *testing.T) {
	var out buffer
	screen := NewScreen(&out, false)
	play(screen.Progress(logTo(screen)))
	want := `level=INFO msg=stage name=train epochs=2 batches=3
level=INFO msg=epoch stage=train epoch=1/2 lr=0.002 loss=3.25 box=1.5 obj=1.25 class=0.5 AP=0.4321 AP50=0.8765 seconds=4.2 eta=1m15s
level=INFO msg=epoch stage=train epoch=2/2 lr=0.002 loss=3.25 box=1.5 obj=1.25 class=0.5 AP=0.4321 AP50=0.8765 seconds=4.2 eta=1m15s
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestQuiet(t *testing.T) {
	var out buffer
	screen := NewScreen(&out, true)
	play(screen.Progress(logTo(screen)))
	if out.String() != "" {
		t.Errorf("progress wrote %q", out.String())
	}
	logTo(screen).Warn("kept")
	if !strings.Contains(out.String(), "msg=kept") {
		t.Errorf("the log lost its line: %q", out.String())
	}
}

// The rows of the epochs and the log's lines stay; the bar ends with Done.
func TestBar(t *testing.T) {
	var out buffer
	screen := &Screen{w: &out, terminal: true}
	b := screen.Progress(nil).(*bar)
	b.name, b.epochs, b.batches, b.ap50 = "train", 2, 3, -1
	refresh := make(chan any)
	// The third request is only taken once the first has been drawn.
	draw := func() {
		for range 3 {
			refresh <- true
		}
	}
	b.show(mpb.WithOutput(&out), mpb.ForceTTY(), mpb.WithWidth(100), mpb.WithManualRefresh(refresh))
	b.Batch(0, 3.25)
	b.Batch(1, 2.75)
	draw()
	b.Epoch(stats(1))
	logTo(screen).Warn("a word between")
	draw()
	b.Done()
	b.Done()

	got := out.String()
	for _, want := range []string{
		"train 1/2 ", "loss 2.75", "train 2/2 ", "AP50 0.876  eta 1m1", "msg=\"a word between\"\n",
		"       train        lr     loss      box      obj    class      AP    AP50  near_zero  seconds      eta\n",
		"         1/2     0.002     3.25      1.5     1.25      0.5  0.4321  0.8765          -      4.2    1m15s\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%q", want, got)
		}
	}
	if _, err := screen.Write([]byte("after\n")); err != nil || !strings.HasSuffix(out.String(), "after\n") {
		t.Errorf("writing after the bar: %v, %q", err, out.String())
	}
}

func TestBarWithoutStage(t *testing.T) {
	var out buffer
	p := (&Screen{w: &out, terminal: true}).Progress(nil)
	p.Batch(0, 1)
	p.Epoch(stats(1))
	p.Done()
	if out.String() != "" {
		t.Errorf("wrote %q", out.String())
	}
}

func TestTimeLeft(t *testing.T) {
	b := &bar{epochs: 2, batches: 10, batch: 5}
	start := time.Now()
	for i := range 3 {
		at := start.Add(time.Duration(i) * 2 * time.Second)
		b.setPace(at)
		b.last = at
	}
	if got := b.left(); got != 30*time.Second {
		t.Errorf("15 batches of 2 s: got %v, want 30s", got)
	}
	b.end = time.Now().Add(-time.Second)
	if got := b.left(); got != 0 {
		t.Errorf("after the expected end: got %v, want 0", got)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	err := Table(&out, []string{"stage", "params", "input", "AP50", "note"}, [][]string{
		{"baseline", "1.48 M", "320x320", "0.872", "5 of 9"},
		{"pruned", "466 k", "320x320", "-", ""},
		{"细胞", "99", "32x32"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `stage     params    input   AP50  note
baseline  1.48 M  320x320  0.872  5 of 9
pruned     466 k  320x320      -
细胞          99    32x32
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestTableWithoutRows(t *testing.T) {
	var out bytes.Buffer
	if err := Table(&out, []string{"a", "b"}, nil); err != nil || out.String() != "a  b\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{SI(0), "0"},
		{SI(7), "7"},
		{SI(999), "999"},
		{SI(999.6), "1.00 k"},
		{SI(1000), "1.00 k"},
		{SI(1476096), "1.48 M"},
		{SI(1.017e9), "1.02 G"},
		{SI(-25250), "-25.2 k"},
		{SI(999500), "1.00 M"},
		{SI(0.5), "0.50"},
		{Bytes(0), "0 B"},
		{Bytes(24251276), "24.3 MB"},
		{Bytes(24251), "24.3 kB"},
		{Duration(0), "0s"},
		{Duration(59499 * time.Millisecond), "59s"},
		{Duration(59500 * time.Millisecond), "1m00s"},
		{Duration(723 * time.Second), "12m03s"},
		{Duration(time.Hour - time.Second), "1h00m"},
		{Duration(200 * time.Minute), "3h20m"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Three significant digits are right to half a unit of the third.
func TestSIIsClose(t *testing.T) {
	powers := map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 1e18).Draw(t, "n")
		number, prefix := scale(float64(n))
		var value float64
		for _, r := range number {
			if r != '.' {
				value = value*10 + float64(r-'0')
			}
		}
		if i := strings.IndexByte(number, '.'); i >= 0 {
			for range len(number) - i - 1 {
				value /= 10
			}
		}
		value *= powers[prefix]
		if d := (value - float64(n)) / float64(n); d > 0.00501 || d < -0.00501 || len(strings.Replace(number, ".", "", 1)) > 3 {
			t.Fatalf("%d is written %s %s", n, number, prefix)
		}
	})
}

func TestColoursNeedATerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if IsTerminal(f) || IsTerminal(&bytes.Buffer{}) {
		t.Error("a file or a buffer passes for a terminal")
	}
	if Bold(f, "x") != "x" {
		t.Error("emphasis was written to a file")
	}
}
