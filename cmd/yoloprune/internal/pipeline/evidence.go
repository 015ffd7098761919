package pipeline

import (
	"yoloprune/datasets"
	"yoloprune/finetune/loss"
	"yoloprune/finetune/statistics"
	"yoloprune/pruning/importance"
	"yoloprune/yolo/graph"
)

// evidenceImages bounds how many images a criterion looks at.
const evidenceImages = 200

// Evidence measures on images what a criterion needs; nil for one that reads
// weights alone.
func Evidence(g *graph.Graph, src datasets.Source, criterion string, threads int, skipBad bool) (*importance.Evidence, error) {
	images, gradients := importance.Needs(criterion)
	if !images {
		return nil, nil
	}
	o := statistics.Options{Images: evidenceImages, Threads: threads, SkipBad: skipBad}
	if gradients {
		s, err := statistics.Gradients(g, src, loss.Options{}, o)
		if err != nil {
			return nil, err
		}
		return &importance.Evidence{GateTaylor: s.Gate, WeightTaylor: s.Weight, Hessian: s.Hessian}, nil
	}
	s, err := statistics.Responses(g, src, o)
	if err != nil {
		return nil, err
	}
	return &importance.Evidence{MeanAbs: s.MeanAbs, Small: s.Small}, nil
}

// Means measures the mean of every channel, for the fold measured.
func Means(g *graph.Graph, src datasets.Source, threads int, skipBad bool) (map[graph.NodeID][]float32, error) {
	s, err := statistics.Responses(g, src, statistics.Options{Images: evidenceImages, Threads: threads, SkipBad: skipBad})
	if err != nil {
		return nil, err
	}
	return s.Mean, nil
}
