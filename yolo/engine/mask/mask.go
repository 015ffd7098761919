// Package mask draws the masks of dropout layers. The fast engine and the
// reference share it, so that both drop the same values.
package mask

import "math/rand/v2"

// Keep fills dst, in N x H x W x C order, with factors for a dropout layer's
// input: 0 with probability p, else 1/(1-p), so that the expected value stays
// (Srivastava et al., JMLR 15, 2014, section 10, scaled in training as in
// Darknet and PyTorch). The same seed, node and iteration give the same mask.
func Keep(seed, node, iteration uint64, p float64, dst []float32) {
	rng := rand.New(rand.NewPCG(seed^0x9e3779b97f4a7c15*(node+1), iteration))
	kept := float32(1 / (1 - p))
	for i := range dst {
		dst[i] = kept
		if rng.Float64() < p {
			dst[i] = 0
		}
	}
}
