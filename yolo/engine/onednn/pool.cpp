// Pooling: the maximum and the mean of windows, and the mean of whole images.
#include "kernels.h"

using namespace yp;

namespace {

// The part of an output's window that lies on the image, and where the window
// starts.
struct Window {
  int top, left, h0, h1, w0, w1;
  Window(const yp_desc& s, int size, int stride, int before, int h, int w)
      : top(h * stride - before),
        left(w * stride - before),
        h0(std::max(0, top)),
        h1(std::min(s.h, top + size)),
        w0(std::max(0, left)),
        w1(std::min(s.w, left + size)) {}
  bool whole(int size) const { return h1 - h0 == size && w1 - w0 == size; }
  float share() const { return 1.f / ((float)(h1 - h0) * (float)(w1 - w0)); }
};

YP_CLONES void larger(int w, const float* a, float* y) {
  for (int c = 0; c < w; c++) y[c] = a[c] > y[c] ? a[c] : y[c];
}

YP_CLONES void larger_at(int w, const float* a, uint16_t place, float* y, uint16_t* where) {
  for (int c = 0; c < w; c++) {
    bool up = a[c] > y[c];
    y[c] = up ? a[c] : y[c];
    where[c] = up ? place : where[c];
  }
}

// The usual 2x2 window: all four inputs exist, so the maximum needs no start value.
YP_CLONES void pool2(int w, const float* a, const float* b, float* y) {
  for (int c = 0; c < w; c++) {
    float m = a[c];
    m = a[w + c] > m ? a[w + c] : m;
    m = b[c] > m ? b[c] : m;
    y[c] = b[w + c] > m ? b[w + c] : m;
  }
}

YP_CLONES void pool2_at(int w, const float* a, const float* b, float* y, uint16_t* where) {
  for (int c = 0; c < w; c++) {
    float m = a[c];
    uint16_t i = 0;
    if (a[w + c] > m) m = a[w + c], i = 1;
    if (b[c] > m) m = b[c], i = 2;
    if (b[w + c] > m) m = b[w + c], i = 3;
    y[c] = m;
    where[c] = i;
  }
}

// One output pixel of w channels; x is the panel. The first value inside the
// image starts the maximum, so that a NaN cannot leave `where` pointing outside.
void maximum(const Window& in, int size, int row, int w, const float* x, float* y, uint16_t* where) {
  const float* first = x + ((long)in.h0 * row + in.w0) * w;
  if (size == 2 && in.whole(2)) {
    if (where)
      pool2_at(w, first, first + (long)row * w, y, where);
    else
      pool2(w, first, first + (long)row * w, y);
    return;
  }
  std::copy(first, first + w, y);
  if (where) std::fill(where, where + w, (uint16_t)((in.h0 - in.top) * size + in.w0 - in.left));
  for (int v = in.h0; v < in.h1; v++)
    for (int u = in.w0; u < in.w1; u++) {
      const float* a = x + ((long)v * row + u) * w;
      if (where)
        larger_at(w, a, (uint16_t)((v - in.top) * size + u - in.left), y, where);
      else
        larger(w, a, y);
    }
}

YP_CLONES void add(int w, const float* a, float* y) {
  for (int c = 0; c < w; c++) y[c] += a[c];
}

YP_CLONES void add_scaled(int w, float scale, const float* a, float* y) {
  for (int c = 0; c < w; c++) y[c] += scale * a[c];
}

YP_CLONES void scaled(int w, float scale, const float* a, float* y) {
  for (int c = 0; c < w; c++) y[c] = scale * a[c];
}

}  // namespace

void yp_maxpool_forward(yp_desc s, yp_desc d, int size, int stride, int before, const float* x, float* y, uint16_t* where) {
  const Panels p(s);
#pragma omp parallel for collapse(2) schedule(static)
  for (long i = 0; i < p.count; i++)
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        const long o = ((i * d.h + h) * d.w + w) * p.width;
        maximum(Window(s, size, stride, before, h, w), size, s.w, p.width, x + p.at(i, 0), y + o, where ? where + o : nullptr);
      }
}

void yp_maxpool_backward(yp_desc s, yp_desc d, int size, int stride, int before, const float* dy, const uint16_t* where, float* dx) {
  const Panels p(s);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < p.count; i++) {
    float* base = dx + p.at(i, 0);
    std::memset(base, 0, 4 * p.px * p.width);
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        const long o = ((i * d.h + h) * d.w + w) * p.width;
        const int h0 = h * stride - before, w0 = w * stride - before;
        for (int c = 0; c < p.width; c++) {
          const int k = where[o + c];
          base[((long)(h0 + k / size) * s.w + w0 + k % size) * p.width + c] += dy[o + c];
        }
      }
  }
}

void yp_avgpool_forward(yp_desc s, const float* x, float* y) {
  const Panels p(s);
  sum_pixels(p, 1. / (double)p.px, y, [=](long i) { return (double)x[i]; });
}

void yp_avgpool_backward(yp_desc s, const float* dy, float* dx) {
  const Panels p(s);
  const float share = 1.f / (float)p.px;
#pragma omp parallel for collapse(2) schedule(static)
  for (long i = 0; i < p.count; i++)
    for (long j = 0; j < p.px; j++) scaled(p.width, share, dy + i * p.width, dx + p.at(i, j));
}

void yp_local_avgpool_forward(yp_desc s, yp_desc d, int size, int stride, int before, const float* x, float* y) {
  const Panels p(s);
#pragma omp parallel for collapse(2) schedule(static)
  for (long i = 0; i < p.count; i++)
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        const Window in(s, size, stride, before, h, w);
        float* o = y + ((i * d.h + h) * d.w + w) * p.width;
        std::fill(o, o + p.width, 0.f);
        for (int v = in.h0; v < in.h1; v++)
          for (int u = in.w0; u < in.w1; u++) add(p.width, x + p.at(i, (long)v * s.w + u), o);
        scaled(p.width, in.share(), o, o);
      }
}

void yp_local_avgpool_backward(yp_desc s, yp_desc d, int size, int stride, int before, const float* dy, float* dx) {
  const Panels p(s);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < p.count; i++) {
    std::memset(dx + p.at(i, 0), 0, 4 * p.px * p.width);
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        const Window in(s, size, stride, before, h, w);
        const float* o = dy + ((i * d.h + h) * d.w + w) * p.width;
        for (int v = in.h0; v < in.h1; v++)
          for (int u = in.w0; u < in.w1; u++) add_scaled(p.width, in.share(), o, dx + p.at(i, (long)v * s.w + u));
      }
  }
}
