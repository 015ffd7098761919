// Package cvthreads sets the size of OpenCV's thread pool, which gocv v0.32.0
// does not export.
package cvthreads

/*
#cgo pkg-config: opencv4
#cgo CXXFLAGS: -std=c++11
void yoloprune_cv_set_threads(int n);
int yoloprune_cv_threads(void);
*/
import "C"

// Set makes OpenCV's parallel loops use n threads in the whole process; with 1
// they run in the caller's thread.
func Set(n int) { C.yoloprune_cv_set_threads(C.int(n)) }

// Get returns the number of threads that OpenCV uses.
func Get() int { return int(C.yoloprune_cv_threads()) }
