package darknet

import (
	"strings"

	"yoloprune/yolo/graph"
)

// aliases are the short section names that Darknet also takes.
var aliases = map[string]string{
	"[conv]": "convolutional", "[max]": "maxpool", "[network]": "net", "[avg]": "avgpool",
	"[local_avg]": "local_avgpool", "[empty]": "silence", "[conn]": "connected", "[soft]": "softmax",
	"[lrn]": "normalization",
}

// otherSections are those that Darknet knows and that cannot be run.
var otherSections = set(`Gaussian_yolo activation batchnorm connected conv_lstm cost crnn crop detection gru history
	implicit local lstm normalization region rnn softmax`)

// ignorable are the keys that a section may hold without changing inference:
// they are carried and cause no warning. Any other key that the reader does
// not use itself is carried with a warning.
var ignorable = map[string]map[string]bool{
	"net": set(`batch subdivisions letter_box max_batches learning_rate learning_rate_min momentum decay
		adam B1 B2 eps burn_in power policy step steps scale scales seq_scales gamma sgdr_cycle sgdr_mult
		angle saturation exposure hue aspect flip max_crop min_crop blur gaussian_noise mixup cutmix mosaic
		mosaic_bound resize_step label_smooth_eps ema_alpha try_fix_nan loss_scale dynamic_minibatch
		optimized_memory workspace_size_limit_MB use_cuda_graph track augment_speed
		sequential_subdivisions contrastive contrastive_jit_flip contrastive_color unsupervised attention
		adversarial_lr max_chart_loss weights_reject_freq equidistant_point badlabels_rejection_percentage
		badlabels_reject_threshold num_sigmas_reject_badlabels show_receptive_field`),
	"convolutional": set(`assisted_excitation grad_centr reverse dot angle stream wait_stream`),
	"maxpool":       set(`out_channels`),
	"route":         set(`stream wait_stream`),
	"dropout":       set(`dropblock dropblock_size_rel dropblock_size_abs`),
	"contrastive":   set(`temperature cls_normalizer max_delta contrastive_neg_max`),
	"yolo": set(`max jitter resize delta_normalizer random focal_loss objectness_smooth counters_per_class
		iou_thresh_kind track_history_size track_ciou_norm sim_thresh dets_for_track dets_for_show show_details`),
}

// everyLayer are the ignorable keys of all layer sections.
var everyLayer = set(`clip onlyforward dont_update burnin_update stopbackward train_only_bn learning_rate`)

func set(words string) map[string]bool {
	s := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		s[w] = true
	}
	return s
}

func isIgnorable(kind, key string) bool {
	return ignorable[kind][key] || kind != "net" && everyLayer[key]
}

// neutral are the options that change inference or the layout of the weights
// in a way that is not run here; they may stand in a cfg with this value only.
var neutral = map[string]map[string]float64{
	"net": {"time_steps": 1},
	"convolutional": {
		"cbn": 0, "antialiasing": 0, "binary": 0, "xnor": 0, "bin_output": 0, "flipped": 0,
		"sway": 0, "rotate": 0, "stretch": 0, "stretch_sway": 0, "coordconv": 0, "dontloadscales": 0,
	},
	"maxpool":  {"maxpool_depth": 0, "antialiasing": 0, "maxpool_zero_nonmax": 0},
	"upsample": {"scale": 1},
}

// neutralInAll are those of all layer sections.
var neutralInAll = map[string]float64{"dontload": 0}

func neutralValue(kind, key string) (float64, bool) {
	if v, ok := neutral[kind][key]; ok {
		return v, true
	}
	v, ok := neutralInAll[key]
	return v, ok && kind != "net"
}

// absent are the options that have no neutral value at all.
var absent = map[string]map[string]string{
	"yolo": {"map": "a class map"},
}

// otherActivations are the ones that Darknet knows and the engine does not run.
var otherActivations = set(`ramp relie elu selu gelu hardtan lhtan plse stair loggy revleaky tanh hard_mish
	normalize_channels normalize_channels_softmax normalize_channels_softmax_maxval`)

var (
	iouLosses = []string{"mse", "iou", "giou", "diou", "ciou"}
	nmsKinds  = []string{"default", "greedynms", "diounms"}
)

// yoloNumbers are the numbers of a [yolo] section that have a field of their
// own, with Darknet's defaults; the order is that of writing.
var yoloNumbers = []struct {
	key      string
	standard float64
	field    func(*graph.Yolo) *float64
}{
	{"scale_x_y", 1, func(o *graph.Yolo) *float64 { return &o.ScaleXY }},
	{"ignore_thresh", .5, func(o *graph.Yolo) *float64 { return &o.IgnoreThresh }},
	{"truth_thresh", 1, func(o *graph.Yolo) *float64 { return &o.TruthThresh }},
	{"iou_thresh", 1, func(o *graph.Yolo) *float64 { return &o.IoUThresh }},
	{"iou_normalizer", .75, func(o *graph.Yolo) *float64 { return &o.IoUNormalizer }},
	{"obj_normalizer", 1, func(o *graph.Yolo) *float64 { return &o.ObjNormalizer }},
	{"cls_normalizer", 1, func(o *graph.Yolo) *float64 { return &o.ClsNormalizer }},
	{"max_delta", 0, func(o *graph.Yolo) *float64 { return &o.MaxDelta }},
	{"label_smooth_eps", 0, func(o *graph.Yolo) *float64 { return &o.LabelSmooth }},
	{"beta_nms", .6, func(o *graph.Yolo) *float64 { return &o.BetaNMS }},
}
