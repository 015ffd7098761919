package darknet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Starts of a cfg; every case of badCfgs says what follows, and so which line
// is the faulty one.
const (
	netOnly = "[net]\nwidth=32\nheight=32\nchannels=3\n"                                      // lines 1 to 4
	oneConv = netOnly + "[convolutional]\nfilters=4\nactivation=leaky\n"                      // lines 5 to 7: 4x32x32
	twoConv = oneConv + "[convolutional]\nfilters=6\nactivation=leaky\n"                      // lines 8 to 10: 6x32x32
	sharing = netOnly + "[convolutional]\nfilters=3\nactivation=leaky\n[route]\nlayers=0\n" + // lines 5 to 9
		"[convolutional]\nfilters=3\nactivation=leaky\nshare_index=0\n" // lines 10 to 13
	oneYolo     = netOnly + "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\n" // lines 5 to 9
	oneHead     = oneYolo + "anchors=1,2\n"                                                      // line 10
	sections    = "[avgpool contrastive convolutional dropout local_avgpool maxpool reorg reorg3d route sam scale_channels shortcut silence upsample yolo]"
	activations = "[linear leaky relu relu6 logistic mish swish]"
)

// badCfgs are cfgs that are refused, each with the whole message. All but those
// with unsupported set are a *FormatError.
var badCfgs = []struct {
	name, cfg   string
	unsupported bool
	message     string
}{
	{"empty", "", false, "x.cfg: has no sections: a cfg starts with [net]"},
	{"comments only", "# nothing\n;\n", false, "x.cfg: has no sections: a cfg starts with [net]"},
	{"binary", "[net]\x00", false, "x.cfg: holds binary data: this is not a cfg (are the cfg and the weights exchanged?)"},
	{"huge", strings.Repeat("#", maxCfg+1), false, "x.cfg: is over 4194304 bytes long: this is not a cfg"},
	{"too many layers", netOnly + strings.Repeat("[convolutional]\n", maxLayers+1), false, "x.cfg:10005: has more than 10000 layers"},
	{"too many options", netOnly + many(998), false, "x.cfg:1002: section [net] has more than 1000 options"},
	{"option first", "width=3\n[net]\n", false, `x.cfg:1: "width=3" stands before the first section: a cfg starts with [net]`},
	{"carriage returns only", "[net]\rwidth=3\r", false, `x.cfg:1: section "[net]width=3" does not end with ']': put the name, its brackets and nothing else on the line`},

	{"no net", "[convolutional]\n", false, `x.cfg:1: the first section is "[convolutional]": a cfg starts with [net]`},
	{"net twice", oneConv + "[net]\n", false, "x.cfg:8: a second [net]: it may only stand first"},
	{"net without size", "[net]\nchannels=3\n", false, "x.cfg:1: [net] has width 0, height 0, channels 3: all three must be given and positive"},
	{"net negative", "[net]\nwidth=-1\nheight=1\nchannels=3\n", false, "x.cfg:1: [net] has width -1, height 1, channels 3: all three must be given and positive"},
	{"net alone", netOnly, false, "x.cfg:1: [net] stands alone: add the sections of the layers"},
	{"net too large", "[net]\nwidth=99999\nheight=99999\nchannels=3\n[convolutional]\nactivation=linear\n", false,
		"x.cfg:1: [net] has width 99999, height 99999, channels 3: that is over 1073741824 values: lower them"},
	{"inputs", netOnly + "inputs=7\n", false, "x.cfg:5: inputs=7 is not width*height*channels: delete the line"},
	{"time steps", netOnly + "time_steps=3\n", true, "x.cfg:5: time_steps=3 is not supported in [net]: only time_steps=1 can be run: change it and train anew"},

	{"open section", netOnly + "[convolutional\n", false, `x.cfg:5: section "[convolutional" does not end with ']': put the name, its brackets and nothing else on the line`},
	{"comment behind a section", netOnly + "[convolutional] # first\n", false, `x.cfg:5: section "[convolutional]#first" does not end with ']': put the name, its brackets and nothing else on the line`},
	{"unknown section", netOnly + "[convolution]\n", false, `x.cfg:5: section "[convolution]" is unknown: known are ` + sections + ", with small and capital letters as here"},
	{"case of a section", netOnly + "[Convolutional]\n", false, `x.cfg:5: section "[Convolutional]" is unknown: known are ` + sections + ", with small and capital letters as here"},
	{"gaussian", netOnly + "[Gaussian_yolo]\n", true, "x.cfg:5: section [Gaussian_yolo] is not supported: supported are " + sections + ": use a network of these"},
	{"implicit", netOnly + "[implicit]\n", true, "x.cfg:5: section [implicit] is not supported: supported are " + sections + ": use a network of these"},
	{"batchnorm", netOnly + "[batchnorm]\n", true, "x.cfg:5: section [batchnorm] is not supported: supported are " + sections + ": use a network of these"},
	{"connected", netOnly + "[conn]\n", true, "x.cfg:5: section [conn] is not supported: supported are " + sections + ": use a network of these"},
	{"region", netOnly + "[region]\n", true, "x.cfg:5: section [region] is not supported: supported are " + sections + ": use a network of these"},

	{"garbage behind a number", oneConv + "stride=3abc\n", false, `x.cfg:8: stride: "3abc" is not a number: write it as in stride=1`},
	{"word for a number", oneConv + "size=big\n", false, `x.cfg:8: size: "big" is not a number: write it as in size=1`},
	{"hexadecimal", oneConv + "size=0x3\n", false, `x.cfg:8: size: "0x3" is not a number: write it as in size=1`},
	{"comment with a semicolon", oneConv + "size=3 ; x\n", false, `x.cfg:8: size: "3;x" is not a number: write it as in size=1`},
	{"fraction", oneConv + "size=1.5\n", false, `x.cfg:8: size: "1.5" is not a whole number: write it as in size=1`},
	{"exponent in a whole number", oneConv + "size=1e0\n", false, `x.cfg:8: size: "1e0" is not a whole number: write it as in size=1`},
	{"huge whole number", oneConv + "size=3000000000\n", false, `x.cfg:8: size: "3000000000" is out of range: write it as in size=1`},
	{"huge number", oneHead + "ignore_thresh=1e39\n", false, `x.cfg:11: ignore_thresh: "1e39" is out of range: write it as in ignore_thresh=0.5`},
	{"no value", oneConv + "size=\n", false, "x.cfg:8: size has no value: write size=... or delete the line"},
	{"no equals sign", oneConv + "size\n", false, "x.cfg:8: size has no value: write size=... or delete the line"},
	{"only a comment", oneConv + "size=#3\n", false, "x.cfg:8: size has no value: write size=... or delete the line"},

	{"unknown activation", netOnly + "[convolutional]\nactivation=leeky\n", false, `x.cfg:6: activation: "leeky" is unknown: use one of ` + activations},
	{"other activation", netOnly + "[convolutional]\nactivation=hard_mish\n", true, "x.cfg:6: activation=hard_mish is not supported: supported are " + activations + ": train with one of those"},
	{"comment behind a name", netOnly + "[convolutional]\nactivation=leaky # x\n", false, `x.cfg:6: activation: a comment stands behind "leaky": Darknet takes it as part of the name: give it its own line`},
	{"no filters", netOnly + "[convolutional]\nfilters=0\nactivation=linear\n", false, "x.cfg:5: layer 0 (convolutional): filters 0, size 1, stride 1, padding 0, groups 1: all must be positive (padding may be 0)"},
	{"negative size", oneConv + "size=-3\n", false, "x.cfg:5: layer 0 (convolutional): filters 4, size -3, stride 1, padding 0, groups 1: all must be positive (padding may be 0)"},
	{"negative padding", oneConv + "padding=-1\n", false, "x.cfg:5: layer 0 (convolutional): filters 4, size 1, stride 1, padding -1, groups 1: all must be positive (padding may be 0)"},
	{"stride 0", oneConv + "stride=0\n", false, "x.cfg:5: layer 0 (convolutional): filters 4, size 1, stride 0, padding 0, groups 1: all must be positive (padding may be 0)"},
	{"unequal strides", oneConv + "stride_x=2\n", true, "x.cfg:8: stride_x=2 with stride_y=1 is not supported: only equal strides can be run: change them and train anew"},
	{"groups do not divide the filters", twoConv + "groups=4\n", false, "x.cfg:8: layer 1 (convolutional): groups 4 must divide both the 4 input channels and the 6 filters"},
	{"groups do not divide the channels", oneConv + "groups=2\n", false, "x.cfg:5: layer 0 (convolutional): groups 2 must divide both the 3 input channels and the 4 filters"},
	{"window", oneConv + "size=33\n", false, "x.cfg:5: layer 0 (convolutional): window of 33 pixels does not fit 32x32"},
	{"huge width", netOnly + "[convolutional]\nfilters=2000000000\nactivation=linear\n", false, "x.cfg:5: layer 0 (convolutional): shape 2000000000x32x32 has more than 1073741824 values"},
	{"huge kernel", oneConv + "size=31\n[convolutional]\nfilters=100000\nsize=31\npad=1\nactivation=linear\n", false, "x.cfg:9: layer 1 (convolutional): kernel of 3.84e+08 weights is over the limit of 268435456"},
	{"dilation without padding", oneConv + "size=3\ndilation=2\n", true, "x.cfg:9: dilation=2 with size=3 and padding=0 is not supported: Darknet takes the output's size from the kernel without dilation, which fits an odd size with padding=(size-1)/2 only: write pad=1 and an odd size"},
	{"dilation of an even size", oneConv + "size=4\npad=1\ndilation=2\n", true, "x.cfg:10: dilation=2 with size=4 and padding=2 is not supported: Darknet takes the output's size from the kernel without dilation, which fits an odd size with padding=(size-1)/2 only: write pad=1 and an odd size"},
	{"dilation 0", oneConv + "size=3\npad=1\ndilation=0\n", false, "x.cfg:10: dilation=0: must be at least 1"},
	{"huge dilation", oneConv + "size=3\npad=1\ndilation=2147483647\n", false, "x.cfg:5: layer 0 (convolutional): dilation 2147483647: must be in 1 to 1024"},
	{"dilation word", oneConv + "size=3\ndilation=x\n", false, `x.cfg:9: dilation: "x" is not a number: write it as in dilation=1`},
	{"antialiasing", oneConv + "antialiasing=1\n", true, "x.cfg:8: antialiasing=1 is not supported in [convolutional]: only antialiasing=0 can be run: change it and train anew"},
	{"share_index of the first layer", oneConv + "share_index=-1\n", false, "x.cfg:8: share_index: -1 is layer -1, but this is layer 0 and only earlier ones can be read: put a layer before it"},
	{"share_index to itself", twoConv + "share_index=1\n", false, "x.cfg:11: share_index: 1 is layer 1, but this is layer 1 and only earlier ones can be read: write -1 to -1, counted from here, or 0 to 0"},
	{"share_index of two layers", twoConv + "share_index=0,0\n", false, "x.cfg:11: share_index names 2 layers: want one"},
	{"share_index of other filters", twoConv + "share_index=0\n", false, "x.cfg:8: layer 1 (convolutional): uses the weights of layer 0 (convolutional) of line 5, but has filters 6 where that has 4: make the two alike"},
	{"share_index of other channels", oneConv + "[convolutional]\nfilters=4\nactivation=linear\nshare_index=0\n", false, "x.cfg:8: layer 1 (convolutional): uses the weights of layer 0 (convolutional) of line 5, but has input channels 4 where that has 3: make the two alike"},
	{"share_index of another size", sharing + "size=3\npad=1\n", false, "x.cfg:10: layer 2 (convolutional): uses the weights of layer 0 (convolutional) of line 5, but has size 3 where that has 1: make the two alike"},
	{"share_index with a batch norm", sharing + "batch_normalize=1\n", false, "x.cfg:10: layer 2 (convolutional): uses the weights of layer 0 (convolutional) of line 5, but has batch norm 1 where that has 0: make the two alike"},
	{"share_index of a route", sharing + "[convolutional]\nactivation=linear\nshare_index=1\n", false, "x.cfg:14: layer 3 (convolutional): uses the weights of layer 1 (route) of line 8, which is no convolution"},
	{"share_index of a layer that shares", sharing + "[convolutional]\nactivation=linear\nshare_index=-1\n", true, "x.cfg:16: share_index names layer 2, which itself uses the weights of layer 0: name that one"},
	{"binary weights", oneConv + "binary=1\n", true, "x.cfg:8: binary=1 is not supported in [convolutional]: only binary=0 can be run: change it and train anew"},
	{"xnor", oneConv + "xnor=1\n", true, "x.cfg:8: xnor=1 is not supported in [convolutional]: only xnor=0 can be run: change it and train anew"},
	{"dontload", oneConv + "dontload=1\n", true, "x.cfg:8: dontload=1 is not supported in [convolutional]: only dontload=0 can be run: change it and train anew"},
	{"dontload of another section", oneConv + "[dropout]\ndontload=1\n", true, "x.cfg:9: dontload=1 is not supported in [dropout]: only dontload=0 can be run: change it and train anew"},

	{"pool depth", oneConv + "[maxpool]\nmaxpool_depth=1\nout_channels=2\n", true, "x.cfg:9: maxpool_depth=1 is not supported in [maxpool]: only maxpool_depth=0 can be run: change it and train anew"},
	{"pool antialiasing", oneConv + "[maxpool]\nantialiasing=1\n", true, "x.cfg:9: antialiasing=1 is not supported in [maxpool]: only antialiasing=0 can be run: change it and train anew"},
	{"pool padding", oneConv + "[maxpool]\nsize=2\npadding=3\n", false, "x.cfg:8: layer 1 (maxpool): size 2, stride 1, padding 3: size and stride must be positive, padding at most 2*(size-1)"},
	{"pool stride", oneConv + "[local_avgpool]\nstride=-2\n", false, "x.cfg:8: layer 1 (local_avgpool): size -2, stride -2, padding -3: size and stride must be positive, padding at most 2*(size-1)"},
	{"pool strides", oneConv + "[maxpool]\nstride=2\nstride_y=1\n", true, "x.cfg:10: stride_x=2 with stride_y=1 is not supported: only equal strides can be run: change them and train anew"},
	{"upsample scale", oneConv + "[upsample]\nscale=2\n", true, "x.cfg:9: scale=2 is not supported in [upsample]: only scale=1 can be run: change it and train anew"},
	{"upsample negative", oneConv + "[upsample]\nstride=-2\n", true, "x.cfg:9: stride=-2 is not supported in [upsample]: only enlarging can be run: use a positive stride"},
	{"upsample 0", oneConv + "[upsample]\nstride=0\n", false, "x.cfg:8: layer 1 (upsample): stride 0: must be at least 1"},
	{"dropout", oneConv + "[dropout]\nprobability=2\n", false, "x.cfg:9: probability=2: must be at least 0 and below 1"},
	{"reorg", oneConv + "[reorg]\nstride=2\nreverse=1\n", true, "x.cfg:10: reverse is not supported in [reorg]: only the form without it can be run: use reorg3d, or delete the line"},
	{"reorg stride", oneConv + "[reorg]\nstride=3\n", false, "x.cfg:8: layer 1 (reorg): stride 3: its square must divide the 4 channels"},
	{"reorg3d stride", oneConv + "[reorg3d]\nstride=3\n", false, "x.cfg:8: layer 1 (reorg3d): stride 3: must be positive and divide height and width of 32x32"},
	{"reorg3d back", twoConv + "[reorg3d]\nstride=2\nreverse=1\n", false, "x.cfg:11: layer 2 (reorg3d): stride 2: must be positive, and its square divide the 6 channels"},

	{"no from", oneConv + "[shortcut]\nactivation=linear\n", false, "x.cfg:8: [shortcut] has no from: name the layers that it reads"},
	{"shortcut to itself", twoConv + "[shortcut]\nfrom=2\n", false, "x.cfg:12: from: 2 is layer 2, but this is layer 2 and only earlier ones can be read: write -2 to -1, counted from here, or 0 to 1"},
	{"shortcut to the future", twoConv + "[shortcut]\nfrom=5\n", false, "x.cfg:12: from: 5 is layer 5, but this is layer 2 and only earlier ones can be read: write -2 to -1, counted from here, or 0 to 1"},
	{"shortcut before the first layer", twoConv + "[shortcut]\nfrom=-3\n", false, "x.cfg:12: from: -3 is layer -1, but this is layer 2 and only earlier ones can be read: write -2 to -1, counted from here, or 0 to 1"},
	{"shortcut as the first layer", netOnly + "[shortcut]\nfrom=-1\n", false, "x.cfg:6: from: -1 is layer -1, but this is layer 0 and only earlier ones can be read: put a layer before it"},
	{"shortcut of unequal pixels", twoConv + "stride=2\n[shortcut]\nfrom=-2\n", false, "x.cfg:12: layer 2 (shortcut): adds shapes 6x16x16 and 4x32x32: height and width must be equal"},
	{"weights without normalization", twoConv + "[shortcut]\nfrom=-2\nweights_type=per_feature\n", false,
		"x.cfg:13: weights_type=per_feature has no weights_normalization, and Darknet stops at that too: add weights_normalization=relu or softmax, as it was trained"},
	{"weights of an unknown type", twoConv + "[shortcut]\nfrom=-2\nweights_type=each\n", false, `x.cfg:13: weights_type: "each" is unknown: use one of none, per_channel, per_feature, per_layer`},
	{"too many weights", netOnly + "[convolutional]\nfilters=1000000\nactivation=linear\n[shortcut]\nfrom=" + strings.Repeat("0,", 268) + "0\nweights_type=per_channel\nweights_normalization=relu\n", false,
		"x.cfg:8: layer 1 (shortcut): weights of 270 layers with 1000000 channels each are over the limit of 268435456"},
	{"unknown normalization", twoConv + "[shortcut]\nfrom=-2\nweights_type=per_layer\nweights_normalization=l2\n", false, `x.cfg:14: weights_normalization: "l2" is unknown: use one of avg_relu, none, relu, softmax`},
	{"comment with a comma", twoConv + "[shortcut]\nfrom=-2 # a, b\n", false, "x.cfg:12: from: a comment with a comma stands behind the list, and Darknet counts that as one more layer: give the comment its own line"},

	{"no layers", oneConv + "[route]\ngroups=2\n", false, "x.cfg:8: [route] has no layers: name the layers that it reads"},
	{"route gap", oneConv + "[route]\nlayers=-1,\n", false, `x.cfg:9: layers: number 2 of the list: "" is not a number`},
	{"route to itself", oneConv + "[route]\nlayers=-1,1\n", false, "x.cfg:9: layers: 1 is layer 1, but this is layer 1 and only earlier ones can be read: write -1 to -1, counted from here, or 0 to 0"},
	{"route to the future", oneConv + "[route]\nlayers=2\n[route]\nlayers=1\n", false, "x.cfg:9: layers: 2 is layer 2, but this is layer 1 and only earlier ones can be read: write -1 to -1, counted from here, or 0 to 0"},
	{"route of unequal pixels", twoConv + "stride=2\n[route]\nlayers=0,1\n", false, "x.cfg:12: layer 2 (route): joins 32x32 and 16x16 pixels: all inputs need the same height and width"},
	{"route groups 0", twoConv + "[route]\nlayers=-1\ngroups=0\n", false, "x.cfg:11: layer 2 (route): groups 0, group_id 0: want 0 <= group_id < groups"},
	{"route groups", twoConv + "[route]\nlayers=-1\ngroups=4\n", false, "x.cfg:11: layer 2 (route): groups 4 does not divide 6 channels"},
	{"route group", twoConv + "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n", false, "x.cfg:11: layer 2 (route): groups 2, group_id 2: want 0 <= group_id < groups"},

	{"gate of the wrong size", twoConv + "[avgpool]\n[scale_channels]\nfrom=0\n", false, "x.cfg:12: layer 3 (scale_channels): scales 4x32x32 by the layer before it, which is 6x1x1: it must be 4x1x1"},
	{"gate of the wrong pixels", twoConv + "[scale_channels]\nfrom=0\nscale_wh=1\n", false, "x.cfg:11: layer 2 (scale_channels): scales 4x32x32 by the layer before it, which is 6x32x32: it must be 1x32x32"},
	{"two gates", twoConv + "[avgpool]\n[scale_channels]\nfrom=0,1\n", false, "x.cfg:13: from names 2 layers: want one"},
	{"sam of unequal shapes", twoConv + "[sam]\nfrom=-2\n", false, "x.cfg:11: layer 2 (sam): multiplies shapes 6x32x32 and 4x32x32: they must be equal"},
	{"sam activation", twoConv + "[sam]\nfrom=-1\nactivation=mish\n", true, "x.cfg:13: activation=mish is not supported in [sam], where Darknet's CPU code computes zeros: supported are [linear leaky relu logistic]"},

	{"no anchors", oneYolo, false, "x.cfg:8: anchors has 0 numbers: num=1 needs 2, a width and a height for each"},
	{"odd anchors", oneYolo + "anchors=1,2,3\nnum=2\n", false, "x.cfg:10: anchors has 3 numbers: num=2 needs 4, a width and a height for each"},
	{"surplus anchors", oneYolo + "anchors=1,2,3,4\n", false, "x.cfg:10: anchors has 4 numbers: num=1 needs 2, a width and a height for each"},
	{"zero anchor", oneYolo + "anchors=1,0\n", false, "x.cfg:10: anchors: anchor 0 is 1x0: both sides must be positive"},
	{"infinite anchor", oneYolo + "anchors=1,inf\n", false, `x.cfg:10: anchors: number 2 of the list: "inf" is not a number`},
	{"mask out of range", oneHead + "mask=1\n", false, "x.cfg:11: mask names anchor 1, but num=1: anchors are counted from 0 to 0"},
	{"channels of a head", oneYolo + "anchors=1,2,3,4\nnum=2\n", false,
		"x.cfg:8: layer 1 (yolo): 1 classes and 2 anchors need 12 channels, the layer before has 6: set its filters to (classes+5)*anchors"},
	{"no classes", oneYolo[:len(oneYolo)-2] + "0\nanchors=1,2\n", false, "x.cfg:8: layer 1 (yolo): classes 0, 1 anchors in mask: both must be positive"},
	{"scale_x_y", oneHead + "scale_x_y=0\n", false, "x.cfg:11: scale_x_y=0: must be positive: 1 is the standard"},
	{"iou_loss", oneHead + "iou_loss=siou\n", false, `x.cfg:11: iou_loss: "siou" is unknown: use one of mse, iou, giou, diou, ciou`},
	{"nms_kind", oneHead + "nms_kind=soft\n", false, `x.cfg:11: nms_kind: "soft" is unknown: use one of default, greedynms, diounms`},
	{"class map", oneHead + "map=9k.map\n", true, "x.cfg:11: map=9k.map is not supported in [yolo]: a class map cannot be run: delete the line and train anew"},
	{"embedding_layer", oneHead + "embedding_layer=-4\n", false, "x.cfg:11: embedding_layer: -4 is layer -3, but this is layer 1 and only earlier ones can be read: write -1 to -1, counted from here, or 0 to 0"},
	{"contrastive without a head", oneConv + "[contrastive]\nclasses=2\n", false, "x.cfg:8: [contrastive] has no yolo_layer: name the layers that it reads"},
	{"contrastive of no head", oneConv + "[contrastive]\nyolo_layer=-1\n", false, "x.cfg:9: yolo_layer names layer 0 (convolutional): Darknet stops unless it is a [yolo]"},
}

// many makes so many options with keys of their own.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d=0\n", i)
	}
	return b.String()
}

func TestBadCfgs(t *testing.T) {
	for _, c := range badCfgs {
		t.Run(c.name, func(t *testing.T) {
			g, _, err := Decode("x.cfg", strings.NewReader(c.cfg))
			if g != nil || err == nil {
				t.Fatalf("decoded without an error, want %q", c.message)
			}
			if err.Error() != c.message {
				t.Errorf("error\n%s\nwant\n%s", err, c.message)
			}
			var f *FormatError
			var u *UnsupportedError
			if errors.As(err, &f) == c.unsupported || errors.As(err, &u) != c.unsupported {
				t.Errorf("error is a %T", err)
			}
		})
	}
}
