#include <opencv2/core/utility.hpp>

extern "C" {

void yoloprune_cv_set_threads(int n) { cv::setNumThreads(n); }

int yoloprune_cv_threads(void) { return cv::getNumThreads(); }

}
