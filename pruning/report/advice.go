package report

import "fmt"

// sparse is the share of scales near zero from which a network looks trained for
// sparsity: with less, there is nothing that a cut gets for free.
const sparse = 0.1

// Advise fills in what follows from the figures for somebody who wants to cut.
func (a *Analysis) Advise() {
	a.Advice = append(a.adviseScales(), a.adviseCurve()...)
}

func (a *Analysis) adviseScales() []string {
	if a.Channels == 0 {
		return []string{"no convolution has a batch norm: training for sparsity and the criteria that read its scales do not apply"}
	}
	share := float64(a.NearZero) / float64(a.Channels)
	text := fmt.Sprintf("%d of %d batch-norm scales (%.1f %%) are below %g", a.NearZero, a.Channels, 100*share, a.Below)
	if share < sparse {
		return []string{text + ": the network does not look trained for sparsity; train it so before a large cut (the experiment's sparsify section), or plan for more fine-tuning"}
	}
	return []string{text + ": channels of that share go at little cost"}
}

func (a *Analysis) adviseCurve() []string {
	if len(a.Curves) == 0 {
		return []string{"what a cut costs was not measured: give --images and --annotations"}
	}
	if *a.AP50 < 0.05 {
		return []string{fmt.Sprintf("AP50 of the whole network is %.3f on these images: check that cfg, weights, classes and annotations belong together before anything is cut", *a.AP50)}
	}
	best := &a.Curves[a.Best]
	var out []string
	if len(a.Curves) > 1 {
		out = append(out, fmt.Sprintf("of the %d ways to choose, %s leaves the most", len(a.Curves), best.Name()))
	}
	last := best.Points[len(best.Points)-1]
	switch {
	case best.Safe == nil || *best.Safe < 0.01:
		out = append(out, fmt.Sprintf("every cut loses more than %g AP50 before training: a cut has to be followed by fine-tuning", a.MaxDrop))
	case *best.Safe == last.FLOPs:
		out = append(out, fmt.Sprintf("up to %.0f %% of the FLOPs, the largest cut that was tried, go within %g AP50 and without training", 100**best.Safe, a.MaxDrop))
	default:
		out = append(out, fmt.Sprintf("about %.0f %% of the FLOPs go within %g AP50 and without training", 100**best.Safe, a.MaxDrop))
	}
	if best.Knee != nil {
		out = append(out, fmt.Sprintf("the curve bends at %.0f %%: beyond it each further FLOP costs more than before, and fine-tuning has more to repair", 100**best.Knee))
	}
	return append(out, a.adviseDead(best)...)
}

// adviseDead names the cut after which nothing is left to repair from.
func (a *Analysis) adviseDead(best *Curve) []string {
	for _, c := range best.Points {
		if c.Recalibrated < 0.1**a.AP50 {
			return []string{fmt.Sprintf("at %.0f %% less than a tenth of AP50 is left: fine-tuning such a cut is close to training from scratch", 100*c.FLOPs)}
		}
	}
	return nil
}
