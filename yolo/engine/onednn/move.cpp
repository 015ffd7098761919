// Operations that move values: channel copies, upsampling, max pooling.
#include "kernels.h"

using namespace yp;

namespace {

// Offset of channel c of image n at pixel 0, and the step to the next pixel.
inline long at(const yp_desc& d, int n, int c) {
  const int b = block(d);
  return ((long)n * blocks(d) + c / b) * pixels(d) * b + c % b;
}

// Whole blocks can be copied as they lie when both sides start on a block and
// the copy ends on one, or at the source's end, where padding is zero.
bool whole(const yp_desc& s, int sc, const yp_desc& d, int dc, int count) {
  if (s.order != d.order || s.order == YP_NHWC) return false;
  const int b = block(s);
  return sc % b == 0 && dc % b == 0 && (count % b == 0 || sc + count == s.c);
}

}  // namespace

void yp_zero(float* y, long n) {
#pragma omp parallel for schedule(static)
  for (long i = 0; i < n; i += 65536) std::memset(y + i, 0, 4 * std::min(65536L, n - i));
}

void yp_copy_channels(yp_desc s, int sc, yp_desc d, int dc, int count, const float* x, float* y) {
  const long px = pixels(s);
  if (whole(s, sc, d, dc, count)) {
    const int b = block(s), nb = (count + b - 1) / b;
#pragma omp parallel for collapse(2) schedule(static)
    for (int n = 0; n < s.n; n++)
      for (int i = 0; i < nb; i++) std::memcpy(y + at(d, n, dc + i * b), x + at(s, n, sc + i * b), 4 * px * b);
    return;
  }
  if (s.order == YP_NHWC && d.order == YP_NHWC) {
#pragma omp parallel for schedule(static)
    for (long r = 0; r < s.n * px; r++) std::memcpy(y + r * d.c + dc, x + r * s.c + sc, 4 * (long)count);
    return;
  }
  const int sb = block(s), db = block(d);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < s.n; n++)
    for (int c = 0; c < count; c++) {
      const float* a = x + at(s, n, sc + c);
      float* o = y + at(d, n, dc + c);
      for (long p = 0; p < px; p++) o[p * db] = a[p * sb];
    }
}

void yp_upsample_forward(yp_desc s, int k, const float* x, float* y) {
  Rows r(s);
  const int images = r.panels == 1 ? s.n : (int)r.panels, w = r.width;
#pragma omp parallel for collapse(2) schedule(static)
  for (int p = 0; p < images; p++)
    for (int h = 0; h < s.h * k; h++) {
      const float* a = x + ((long)p * s.h + h / k) * s.w * w;
      float* o = y + ((long)p * s.h * k + h) * s.w * k * w;
      for (int i = 0; i < s.w * k; i++) std::memcpy(o + (long)i * w, a + (long)(i / k) * w, 4 * w);
    }
}

void yp_upsample_backward(yp_desc s, int k, const float* dy, float* dx) {
  Rows r(s);
  const int images = r.panels == 1 ? s.n : (int)r.panels, w = r.width;
#pragma omp parallel for collapse(2) schedule(static)
  for (int p = 0; p < images; p++)
    for (int h = 0; h < s.h; h++) {
      float* o = dx + ((long)p * s.h + h) * s.w * w;
      std::fill(o, o + (long)s.w * w, 0.f);
      for (int v = 0; v < k; v++) {
        const float* a = dy + ((long)p * s.h * k + h * k + v) * s.w * k * w;
        for (int i = 0; i < s.w * k; i++)
          for (int c = 0; c < w; c++) o[(long)(i / k) * w + c] += a[(long)i * w + c];
      }
    }
}

void yp_subsample_forward(yp_desc s, int k, const float* x, float* y) {
  Rows r(s);
  const int images = r.panels == 1 ? s.n : (int)r.panels, w = r.width, oh = (s.h - 1) / k + 1, ow = (s.w - 1) / k + 1;
#pragma omp parallel for collapse(2) schedule(static)
  for (int p = 0; p < images; p++)
    for (int h = 0; h < oh; h++)
      for (int i = 0; i < ow; i++)
        std::memcpy(y + (((long)p * oh + h) * ow + i) * w, x + (((long)p * s.h + h * k) * s.w + i * k) * w, 4 * w);
}

void yp_subsample_backward(yp_desc s, int k, const float* dy, float* dx) {
  Rows r(s);
  const int images = r.panels == 1 ? s.n : (int)r.panels, w = r.width, oh = (s.h - 1) / k + 1, ow = (s.w - 1) / k + 1;
#pragma omp parallel for schedule(static)
  for (int p = 0; p < images; p++) {
    std::memset(dx + (long)p * s.h * s.w * w, 0, 4L * s.h * s.w * w);
    for (int h = 0; h < oh; h++)
      for (int i = 0; i < ow; i++)
        std::memcpy(dx + (((long)p * s.h + h * k) * s.w + i * k) * w, dy + (((long)p * oh + h) * ow + i) * w, 4 * w);
  }
}

namespace {

YP_CLONES void larger(int w, const float* a, uint8_t place, float* y, uint8_t* where) {
  for (int c = 0; c < w; c++) {
    bool up = a[c] > y[c];
    y[c] = up ? a[c] : y[c];
    where[c] = up ? place : where[c];
  }
}

// The usual 2x2 window: all four inputs exist, so the maximum needs no start value.
YP_CLONES void pool2(int w, const float* a, const float* b, float* y, uint8_t* where) {
  for (int c = 0; c < w; c++) {
    float m = a[c];
    uint8_t i = 0;
    if (a[w + c] > m) m = a[w + c], i = 1;
    if (b[c] > m) m = b[c], i = 2;
    if (b[w + c] > m) m = b[w + c], i = 3;
    y[c] = m;
    where[c] = i;
  }
}

}  // namespace

void yp_maxpool_forward(yp_desc s, yp_desc d, int size, int stride, int before, const float* x, float* y, uint8_t* where) {
  Rows r(s);
  const int images = r.panels == 1 ? s.n : (int)r.panels, w = r.width;
#pragma omp parallel for collapse(2) schedule(static)
  for (int p = 0; p < images; p++)
    for (int h = 0; h < d.h; h++)
      for (int i = 0; i < d.w; i++) {
        const long o = (((long)p * d.h + h) * d.w + i) * w;
        const int h0 = h * stride - before, w0 = i * stride - before;
        if (size == 2 && h0 >= 0 && w0 >= 0 && h0 + 1 < s.h && w0 + 1 < s.w) {
          const float* a = x + (((long)p * s.h + h0) * s.w + w0) * w;
          pool2(w, a, a + (long)s.w * w, y + o, where + o);
          continue;
        }
        // The first value inside the image starts the maximum, so that a NaN
        // cannot leave `where` pointing outside.
        const int v0 = std::max(0, -h0), u0 = std::max(0, -w0);
        const float* first = x + (((long)p * s.h + h0 + v0) * s.w + w0 + u0) * w;
        std::copy(first, first + w, y + o);
        std::fill(where + o, where + o + w, (uint8_t)(v0 * size + u0));
        for (int v = v0; v < size && h0 + v < s.h; v++)
          for (int u = u0; u < size && w0 + u < s.w; u++)
            larger(w, x + (((long)p * s.h + h0 + v) * s.w + w0 + u) * w, (uint8_t)(v * size + u), y + o, where + o);
      }
}

void yp_maxpool_backward(yp_desc s, yp_desc d, int size, int stride, int before, const float* dy, const uint8_t* where, float* dx) {
  Rows r(s);
  const int images = r.panels == 1 ? s.n : (int)r.panels, w = r.width;
#pragma omp parallel for schedule(static)
  for (int p = 0; p < images; p++) {
    float* base = dx + (long)p * s.h * s.w * w;
    std::memset(base, 0, 4L * s.h * s.w * w);
    for (int h = 0; h < d.h; h++)
      for (int i = 0; i < d.w; i++) {
        const long o = (((long)p * d.h + h) * d.w + i) * w;
        const int h0 = h * stride - before, w0 = i * stride - before;
        for (int c = 0; c < w; c++) {
          const int k = where[o + c];
          base[((long)(h0 + k / size) * s.w + w0 + k % size) * w + c] += dy[o + c];
        }
      }
  }
}
