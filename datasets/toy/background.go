package toy

import (
	"math"
	"math/rand/v2"
)

// field is a texture: a value in 0..1 for every pixel.
type field func(x, y float64) float64

// background paints a w x h picture, B, G, R interleaved: two colours mixed by
// a random texture, and grain over it.
func background(rng *rand.Rand, w, h int) []byte {
	from, to := colour(rng), colour(rng)
	var f field
	switch rng.IntN(4) {
	case 0:
		f = func(_, _ float64) float64 { return 0 }
	case 1:
		f = gradient(rng, w, h)
	case 2:
		f = stripes(rng)
	default:
		f = blobs(rng, w, h)
	}
	grain := 5 + 35*rng.Float64()
	out := make([]byte, 0, w*h*3)
	for y := range h {
		for x := range w {
			t := f(float64(x), float64(y))
			for c := range 3 {
				v := from[c] + (to[c]-from[c])*t + grain*(2*rng.Float64()-1)
				out = append(out, byte(min(max(v, 0), 255)))
			}
		}
	}
	return out
}

func colour(rng *rand.Rand) [3]float64 {
	return [3]float64{255 * rng.Float64(), 255 * rng.Float64(), 255 * rng.Float64()}
}

// gradient rises from 0 to 1 across the picture in a random direction.
func gradient(rng *rand.Rand, w, h int) field {
	sin, cos := math.Sincos(2 * math.Pi * rng.Float64())
	cx, cy := float64(w)/2, float64(h)/2
	reach := math.Abs(cx*cos) + math.Abs(cy*sin)
	return func(x, y float64) float64 {
		return 0.5 + ((x-cx)*cos+(y-cy)*sin)/(2*reach)
	}
}

// stripes are a sine wave in a random direction.
func stripes(rng *rand.Rand) field {
	sin, cos := math.Sincos(2 * math.Pi * rng.Float64())
	k := 2 * math.Pi / (6 + 34*rng.Float64())
	phase := 2 * math.Pi * rng.Float64()
	return func(x, y float64) float64 {
		return 0.5 + 0.5*math.Sin(k*(x*cos+y*sin)+phase)
	}
}

// blobs is value noise: random values on a coarse grid, smoothly joined.
func blobs(rng *rand.Rand, w, h int) field {
	cell := 8 + 40*rng.Float64()
	cols, rows := int(float64(w)/cell)+2, int(float64(h)/cell)+2
	grid := make([]float64, cols*rows)
	for i := range grid {
		grid[i] = rng.Float64()
	}
	ease := func(t float64) float64 { return t * t * (3 - 2*t) }
	return func(x, y float64) float64 {
		ix, iy := int(x/cell), int(y/cell)
		fx, fy := ease(x/cell-float64(ix)), ease(y/cell-float64(iy))
		row := grid[iy*cols+ix:]
		top := row[0] + (row[1]-row[0])*fx
		low := row[cols] + (row[cols+1]-row[cols])*fx
		return top + (low-top)*fy
	}
}
