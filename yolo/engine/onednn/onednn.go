// Package onednn holds the engine's fast operations: convolution on oneDNN
// (https://oneapi-src.github.io/oneDNN/v2.6/), and batch norm, activations,
// pooling, upsampling and channel copies in C++ beside it, all through cgo.
//
// Activations are float32 in one order from the image to the heads (see
// Order). Kernels are K x C/groups x R x S. Gradients are dx, dw, dy.
// engine/ref has the same operations in plain Go, and the tests compare the
// two.
//
// Every call runs on one goroutine that is locked to its thread, because
// OpenMP keeps a team of threads per calling thread.
package onednn

// #cgo CXXFLAGS: -std=c++17 -O3 -fopenmp
// #cgo LDFLAGS: -ldnnl -lgomp -lstdc++ -lm
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"yoloprune/yolo/graph"
)

// Order is the memory order of an activation.
type Order int

// The orders. Blocked8 and Blocked16 are oneDNN's nChw8c and nChw16c: runs of
// 8 or 16 channels, the last filled up with zeros. NCHW is for the image
// beside blocked activations.
const (
	NHWC      Order = C.YP_NHWC
	NCHW      Order = C.YP_NCHW
	Blocked8  Order = C.YP_BLOCKED8
	Blocked16 Order = C.YP_BLOCKED16
)

func (o Order) String() string {
	return map[Order]string{NHWC: "nhwc", NCHW: "nchw", Blocked8: "nChw8c", Blocked16: "nChw16c"}[o]
}

// BestOrder returns the order that is fastest on this processor. With AVX-512,
// NHWC takes any channel count at full speed; with AVX2 a training step in
// NHWC takes about half as long again as in blocks (docs/engine.md).
func BestOrder() Order {
	if C.yp_has_avx512() != 0 {
		return NHWC
	}
	return Blocked8
}

// Desc is the shape and order of an activation of N images.
type Desc struct {
	N     int
	Shape graph.Shape
	Order Order
}

// Block is the number of channels that lie side by side.
func (d Desc) Block() int {
	if d.Order == NHWC {
		return d.Shape.C
	}
	return int(d.Order)
}

// Len is the number of floats in memory, padding included.
func (d Desc) Len() int {
	b := d.Block()
	return d.N * ((d.Shape.C + b - 1) / b) * d.Shape.H * d.Shape.W * b
}

func (d Desc) c() C.yp_desc {
	return C.yp_desc{n: C.int(d.N), c: C.int(d.Shape.C), h: C.int(d.Shape.H), w: C.int(d.Shape.W), order: C.int(d.Order)}
}

var (
	startOnce sync.Once
	jobs      chan func()
	finished  chan struct{}
)

// On runs f on the thread that owns oneDNN and waits for it. Calls of this
// package run only inside f.
func On(f func()) {
	startOnce.Do(start)
	jobs <- f
	<-finished
}

func start() {
	jobs, finished = make(chan func()), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		C.yp_start(0)
		for f := range jobs {
			f()
			finished <- struct{}{}
		}
	}()
}

// SetThreads sets the number of OpenMP threads; 0 keeps the present one. It
// returns the number in use.
func SetThreads(n int) int {
	var used C.int
	On(func() { used = C.yp_start(C.int(n)) })
	return int(used)
}

// Version returns oneDNN's version.
func Version() string { return C.GoString(C.yp_version()) }

// Live returns the number of oneDNN objects that were made and not freed.
func Live() int { return int(C.yp_live()) }

func status(code C.int, what string) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", what, C.GoString(C.yp_error()))
}

var errLength = errors.New("slice is shorter than its shape")

func ptr(x []float32) *C.float {
	if len(x) == 0 {
		return nil
	}
	return (*C.float)(unsafe.Pointer(&x[0]))
}

var activations = map[graph.Activation]C.int{
	graph.Linear: C.YP_LINEAR, graph.Leaky: C.YP_LEAKY, graph.Relu: C.YP_RELU, graph.Relu6: C.YP_RELU6,
	graph.Logistic: C.YP_LOGISTIC, graph.Mish: C.YP_MISH, graph.Swish: C.YP_SWISH,
}
