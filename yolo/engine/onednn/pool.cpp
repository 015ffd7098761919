// Mean pooling: over the whole image, and over windows.
#include <vector>
#include "kernels.h"

using namespace yp;

namespace {

// The images, or the blocks of channels of all images, that lie one after
// another.
struct Panels {
  long count, px;
  int width;
  explicit Panels(const yp_desc& d) : count(d.order == YP_NHWC ? d.n : (long)d.n * blocks(d)), px(pixels(d)), width(block(d)) {}
};

// The part of a window that lies on the image.
struct Window {
  int h0, h1, w0, w1;
  Window(const yp_desc& s, int size, int stride, int before, int h, int w)
      : h0(std::max(0, h * stride - before)),
        h1(std::min(s.h, h * stride - before + size)),
        w0(std::max(0, w * stride - before)),
        w1(std::min(s.w, w * stride - before + size)) {}
  float share() const { return 1.f / ((float)(h1 - h0) * (float)(w1 - w0)); }
};

}  // namespace

void yp_avgpool_forward(yp_desc s, const float* x, float* y) {
  Panels p(s);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < p.count; i++) {
    std::vector<double> sum(p.width, 0.0);
    const float* a = x + i * p.px * p.width;
    for (long j = 0; j < p.px; j++)
      for (int c = 0; c < p.width; c++) sum[c] += a[j * p.width + c];
    for (int c = 0; c < p.width; c++) y[i * p.width + c] = (float)(sum[c] / (double)p.px);
  }
}

void yp_avgpool_backward(yp_desc s, const float* dy, float* dx) {
  Panels p(s);
  const float share = 1.f / (float)p.px;
#pragma omp parallel for schedule(static)
  for (long i = 0; i < p.count; i++)
    for (long j = 0; j < p.px; j++)
      for (int c = 0; c < p.width; c++) dx[(i * p.px + j) * p.width + c] = dy[i * p.width + c] * share;
}

void yp_local_avgpool_forward(yp_desc s, yp_desc d, int size, int stride, int before, const float* x, float* y) {
  Panels p(s);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < p.count; i++)
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        Window in(s, size, stride, before, h, w);
        float* o = y + ((i * d.h + h) * d.w + w) * p.width;
        std::fill(o, o + p.width, 0.f);
        for (int v = in.h0; v < in.h1; v++)
          for (int u = in.w0; u < in.w1; u++)
            for (int c = 0; c < p.width; c++) o[c] += x[((i * s.h + v) * s.w + u) * p.width + c];
        for (int c = 0; c < p.width; c++) o[c] *= in.share();
      }
}

void yp_local_avgpool_backward(yp_desc s, yp_desc d, int size, int stride, int before, const float* dy, float* dx) {
  Panels p(s);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < p.count; i++) {
    float* base = dx + i * p.px * p.width;
    std::memset(base, 0, 4 * p.px * p.width);
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        Window in(s, size, stride, before, h, w);
        const float* o = dy + ((i * d.h + h) * d.w + w) * p.width;
        for (int v = in.h0; v < in.h1; v++)
          for (int u = in.w0; u < in.w1; u++)
            for (int c = 0; c < p.width; c++) base[((long)v * s.w + u) * p.width + c] += o[c] * in.share();
      }
  }
}
