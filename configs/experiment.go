// Package configs holds the experiment file: its Go types, its defaults and
// its strict loading.
//
// A value comes from the last of these that gives one: the defaults, the YAML
// file, the environment (YOLOPRUNE_TRAIN_LR for train.lr), the key=value
// overrides of the command line. Everything that is wrong is reported at once,
// each mistake with its place: file:line:column, the override or the variable.
//
// Paths are relative to the working directory, except those of data.train,
// data.val and data.test, which are relative to data.root.
package configs

import "path/filepath"

// Experiment is one file. A stage that is nil, or an empty list, is not run.
// Validation always runs: val holds only its settings.
type Experiment struct {
	Name     string    `yaml:"name"` // of the run folder; the file's name without extension by default
	Seed     uint64    `yaml:"seed"`
	Threads  int       `yaml:"threads" in:"[0,1024]"` // 0: one for each core
	Model    Model     `yaml:"model"`
	Data     Data      `yaml:"data"`
	Train    *Training `yaml:"train"`
	Sparsify *Sparsify `yaml:"sparsify"`
	Prune    []Prune   `yaml:"prune,omitempty"` // one mapping or a list of them; finetune runs after each
	Finetune *Finetune `yaml:"finetune"`
	Val      Val       `yaml:"val"`
	Export   []string  `yaml:"export,omitempty" choice:"darknet" later:"onnx"`
	Report   *Report   `yaml:"report"`

	doc *document
}

// Model says which detector: one built from arch, or one read from cfg.
type Model struct {
	Arch     string  `yaml:"arch,omitempty"`
	Cfg      string  `yaml:"cfg,omitempty"`
	Width    float64 `yaml:"width,omitempty" in:"(0,8]"` // channel multiplier of arch; 1 is the published network
	Input    Size    `yaml:"input,omitempty"`            // zero with cfg: the size that the cfg gives
	Weights  string  `yaml:"weights"`                    // empty: start from new weights
	Backbone string  `yaml:"backbone,omitempty"`         // a partial weights file for the first layers; the others start from new weights
	Anchors  Anchors `yaml:"anchors,omitempty"`          // of arch
}

// Data is the image set. Classes are the categories of the annotation files.
type Data struct {
	Root    string `yaml:"root"` // of format toy: where the set is drawn; empty: inside the run folder
	Format  string `yaml:"format" choice:"coco|toy|voc|darknet|yolo"`
	Train   *Split `yaml:"train"`
	Val     *Split `yaml:"val"`
	Test    *Split `yaml:"test"`
	SkipBad bool   `yaml:"skip_bad"` // go on without images that cannot be read, and count them
	Toy     *Toy   `yaml:"toy"`
}

// Split is one part of an image set. Annotations is the JSON file of format
// coco, a list of images or a .data file of darknet, a list of ImageSets/Main or
// the folder of the XML files of voc, and data.yaml of yolo. Darknet and yolo
// find images by the list; voc has them in JPEGImages by default.
type Split struct {
	Images      string `yaml:"images"`
	Annotations string `yaml:"annotations"`
}

// Toy sets up the drawn image set of format toy.
type Toy struct {
	Images int    `yaml:"images" in:"[10,1000000]"` // of all three splits together
	Seed   uint64 `yaml:"seed"`
}

// Paths returns where a split's images and annotations lie, given data.root.
func (s Split) Paths(root string) (images, annotations string) {
	under := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(root, p)
	}
	return under(s.Images), under(s.Annotations)
}

// Training holds what the stages train, sparsify and finetune share. The two
// later stages take every key that they leave out from train (or from train's
// defaults when there is no such stage), save that by default finetune's learning
// rate is half of train's and its drop_alarm 0.05, and that sparsify runs to its
// end and keeps its last weights.
type Training struct {
	Epochs        int        `yaml:"epochs" in:"[1,inf)"`
	Batch         int        `yaml:"batch" in:"[1,4096]"`
	Accumulate    int        `yaml:"accumulate" in:"[1,1024]"` // batches a step: their gradients are added up as if they were one
	Optimizer     string     `yaml:"optimizer" choice:"sgd|adamw|adam"`
	LR            float64    `yaml:"lr" in:"(0,10]"`
	LRFinal       float64    `yaml:"lr_final" in:"[0,1]"`                     // where cosine and poly end, and sgdr's cycles, as a fraction of lr
	Momentum      float64    `yaml:"momentum" in:"[0,1)"`                     // sgd
	Nesterov      bool       `yaml:"nesterov"`                                // sgd
	MomentumStyle string     `yaml:"momentum_style" choice:"pytorch|darknet"` // sgd: whether the momentum is taken before or after the step; the weights are the same but for rounding
	Betas         [2]float64 `yaml:"betas" in:"[0,1)"`                        // adamw, adam
	WeightDecay   float64    `yaml:"weight_decay" in:"[0,1]"`                 // of kernels only; adam adds it to the gradient
	// The learning-rate schedule. In sparsify its key is lr_schedule, because
	// schedule says there how the penalty changes.
	LRSchedule   string    `yaml:"schedule" outer:"lr_schedule" choice:"cosine|steps|constant|sgdr|poly"`
	Steps        []float64 `yaml:"steps" in:"(0,1)"`           // of schedule steps: fractions of the stage
	Scales       []float64 `yaml:"scales" in:"(0,10]"`         // lr is multiplied by scales[i] from steps[i] on
	WarmupEpochs float64   `yaml:"warmup_epochs" in:"[0,inf)"` // by default at most a tenth of the stage
	Cycle        float64   `yaml:"cycle" in:"(0,1]"`           // of schedule sgdr: the first cycle, as a fraction of the stage
	CycleMult    int       `yaml:"cycle_mult" in:"[1,100]"`    // every cycle is so many times as long as the one before
	Power        float64   `yaml:"power" in:"(0,100]"`         // of schedule poly: lr falls by (1 - done)^power
	// How the rate rises in the warm-up: linear; burn-in, Darknet's, by
	// (step/steps)^warmup_power; groups, YOLOv7's: that of the biases comes down
	// from warmup_bias_lr, the others rise from 0 and sgd's momentum from
	// warmup_momentum.
	Warmup         string     `yaml:"warmup" choice:"linear|burn-in|groups"`
	WarmupPower    float64    `yaml:"warmup_power" in:"(0,100]"`
	WarmupBiasLR   float64    `yaml:"warmup_bias_lr" in:"[0,10]"`
	WarmupMomentum float64    `yaml:"warmup_momentum" in:"[0,1)"`
	EMA            float64    `yaml:"ema" in:"[0,1)"`         // decay of the averaged weights; 0: off
	EMARamp        float64    `yaml:"ema_ramp" in:"(0,inf)"`  // updates: the decay is ema*(1-exp(-n/ema_ramp))
	Clip           float64    `yaml:"clip" in:"[0,inf)"`      // largest gradient norm; 0: off
	BNMomentum     float64    `yaml:"bn_momentum" in:"(0,1]"` // of the running mean and variance
	Mosaic         Chance     `yaml:"mosaic"`                 // four images in one
	MosaicOff      float64    `yaml:"mosaic_off" in:"[0,1]"`  // last fraction of the stage without mosaic
	Scale          float64    `yaml:"scale" in:"[0,1)"`       // the size changes by up to this fraction
	Flip           Chance     `yaml:"flip"`                   // left to right
	FlipVertical   Chance     `yaml:"flip_vertical"`          // upside down
	HSV            [3]float64 `yaml:"hsv" in:"[0,1]"`         // hue, saturation, value change by up to these fractions
	Loss           Loss       `yaml:"loss"`
	ValEvery       int        `yaml:"val_every" in:"[1,inf)"`   // epochs between two validations; the last is always validated
	Patience       int        `yaml:"patience" in:"[0,inf)"`    // epochs without a better AP after which the stage ends; 0: it never does
	Keep           string     `yaml:"keep" choice:"last|best"`  // the weights that the stage leaves: the last, or those of the best AP
	DropAlarm      float64    `yaml:"drop_alarm" in:"[0,1]"`    // warn when the first AP is so much below that before the stage; 0: off
	SpikeAlarm     float64    `yaml:"spike_alarm" in:"[0,inf)"` // warn when a step's loss is so many times the mean of those before it; 0: off
	// A checkpoint is written after every epoch, and within one after so many
	// steps or minutes; 0: not for that reason.
	CheckpointSteps   int     `yaml:"checkpoint_steps" in:"[0,inf)"`
	CheckpointMinutes float64 `yaml:"checkpoint_minutes" in:"[0,100000]"`
}

// Loss sets up the YOLO loss.
type Loss struct {
	Box         float64 `yaml:"box" in:"(0,inf)"` // gains of the three terms
	Obj         float64 `yaml:"obj" in:"(0,inf)"`
	Class       float64 `yaml:"class" in:"(0,inf)"`
	IoU         string  `yaml:"iou" choice:"ciou|diou|giou|iou"`
	LabelSmooth float64 `yaml:"label_smooth" in:"[0,1)"`
	AssignIoU   float64 `yaml:"assign_iou" in:"(0,1]"` // further anchors whose shape overlaps more are assigned too; 1: none
	Ignore      float64 `yaml:"ignore" in:"(0,1]"`     // background boxes that overlap a truth more are left alone
}

// Sparsify trains with a penalty on the batch norms' gamma (Liu et al. 2017,
// arXiv:1708.06519).
//
// Method subgradient adds strength*sign(gamma) to the gradient. Method
// proximal moves every gamma towards zero after the step, by lr*strength or,
// when shrink is given, by a share of shrink: the distance over the whole
// stage, spread with the learning rate.
//
// Schedule says how the penalty changes: constant; decay, linearly to a tenth;
// cosine, to zero; local, constant, but from half-way on a hundredth for the
// strongest 15 % of the channels, chosen anew at the start of every epoch.
type Sparsify struct {
	Training
	Method   string  `yaml:"method" choice:"subgradient|proximal"`
	Strength float64 `yaml:"strength,omitempty" in:"(0,10]"`
	Shrink   float64 `yaml:"shrink,omitempty" in:"(0,10]"` // takes the place of strength
	Schedule string  `yaml:"schedule" choice:"constant|decay|cosine|local"`
	Beta     float64 `yaml:"beta" in:"[0,100]"` // the penalty on the betas, as a multiple of that on the gammas; 0: none
	Groups   bool    `yaml:"groups"`            // channels that can only be cut together share their penalty: the norm of their gammas
}

// Finetune repairs a detector after a cut.
type Finetune struct {
	Training
	Distill Distill `yaml:"distill"`
}

// Distill is empty: distillation has no settings yet.
type Distill struct{}

// Prune is one cut: of whole blocks, of channels up to a target, of both, or of
// what a plan lists, beside which there is nothing left to choose.
type Prune struct {
	Plan        string      `yaml:"plan,omitempty"`                 // a plan's file, written by hand or by an earlier cut of such a network
	Blocks      int         `yaml:"blocks,omitempty" in:"[0,1000]"` // whole blocks that go before the channels, those that score lowest; 0: none
	Criterion   string      `yaml:"criterion" choice:"bn-scale|bn-scale-filter|bn-scale-next|l1|l2|fpgm|lamp|taylor|taylor-weights|hessian|response|apoz|random"`
	Combine     string      `yaml:"combine" choice:"sum|mean|max|norm|first"` // how the scores of tied layers add up
	Members     string      `yaml:"members" choice:"none|layer|max|l2"`       // how each tied layer's scores are normalised before that
	Strategy    string      `yaml:"strategy" choice:"uniform|layers|global|regular|greedy|independent|iterative|sensitivity|search"`
	Normalize   string      `yaml:"normalize" choice:"none|layer|max|l2"` // by default none with strategy global or regular, else layer
	Grain       string      `yaml:"grain" choice:"channel|filter"`        // filter: only filters that are tied to no other layer's
	Layers      LayerRatios `yaml:"layers,omitempty"`                     // strategy layers: fractions by layer, such as {5: 0.3, 7-9: 0.5}
	Target      Target      `yaml:"target"`                               // with blocks: of both together; left out: blocks alone
	Align       int         `yaml:"align" in:"[1,1024]"`                  // kept channels are a multiple of it
	Floor       float64     `yaml:"floor" in:"[0,1]"`                     // fraction that every layer keeps at least
	Skip        []string    `yaml:"skip"`                                 // layers that are not cut: an index, a range such as 3-7, a type
	Fold        string      `yaml:"fold" choice:"none|beta|expected|measured"`
	Candidates  int         `yaml:"candidates" in:"[1,100000]"` // plans that strategy search tries
	Judge       int         `yaml:"judge" in:"[0,inf)"`         // training images that strategies search and sensitivity measure on; 0: all
	Recalibrate int         `yaml:"recalibrate" in:"[0,inf)"`   // training images to measure the batch norms on; 0: none
}

// channelKeys are the keys that say which channels go.
var channelKeys = []string{"criterion", "combine", "members", "strategy", "normalize", "grain", "layers", "target", "align", "floor", "candidates", "judge"}

// useless lists the keys that have no effect on the cut.
func (p Prune) useless() []string {
	switch {
	case p.Plan != "":
		return append([]string{"blocks", "skip"}, channelKeys...)
	case p.Blocks > 0 && p.Target == (Target{}):
		return channelKeys
	}
	return nil
}

// Target is how much a cut removes, as a fraction of what was there before
// it. One of them is set, or none where whole blocks are all that goes.
type Target struct {
	FLOPs   float64 `yaml:"flops,omitempty" in:"(0,1)"`
	Params  float64 `yaml:"params,omitempty" in:"(0,1)"`
	Ratio   float64 `yaml:"ratio,omitempty" in:"(0,1)"`   // of the channels
	Bytes   float64 `yaml:"bytes,omitempty" in:"(0,1)"`   // of the weights file
	Latency float64 `yaml:"latency,omitempty" in:"(0,1)"` // of the time of an image on this machine
}

// Val sets up detection and evaluation.
type Val struct {
	Protocol string  `yaml:"protocol" choice:"coco|darknet|voc07|voc12"` // of the stages' figures; training is always watched by coco
	Conf     float64 `yaml:"conf" in:"[0,1)"`
	NMS      float64 `yaml:"nms" in:"(0,1]"`
	NMSKind  string  `yaml:"nms_kind" choice:"default|greedynms|diounms|auto"`
	MaxDet   int     `yaml:"max_det" in:"[1,100000]"` // detections kept of one image
}

// Report sets up the page at the end.
type Report struct {
	HTML           bool `yaml:"html"`
	ScratchControl bool `yaml:"scratch_control"`      // train the cut network from new weights too, and compare
	Samples        int  `yaml:"samples" in:"[0,100]"` // images shown with boxes
}
