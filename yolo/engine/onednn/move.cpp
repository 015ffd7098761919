// Operations that move values: channel copies, upsampling, subsampling,
// permutations.
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
  const Panels l(s);
  const int w = l.width;
#pragma omp parallel for collapse(2) schedule(static)
  for (long p = 0; p < l.count; p++)
    for (int h = 0; h < s.h * k; h++) {
      const float* a = x + (p * s.h + h / k) * s.w * w;
      float* o = y + (p * s.h * k + h) * s.w * k * w;
      for (int i = 0; i < s.w * k; i++) std::memcpy(o + (long)i * w, a + (long)(i / k) * w, 4 * w);
    }
}

void yp_upsample_backward(yp_desc s, int k, const float* dy, float* dx) {
  const Panels l(s);
  const int w = l.width;
#pragma omp parallel for collapse(2) schedule(static)
  for (long p = 0; p < l.count; p++)
    for (int h = 0; h < s.h; h++) {
      float* o = dx + (p * s.h + h) * s.w * w;
      std::fill(o, o + (long)s.w * w, 0.f);
      for (int v = 0; v < k; v++) {
        const float* a = dy + (p * s.h * k + h * k + v) * s.w * k * w;
        for (int i = 0; i < s.w * k; i++)
          for (int c = 0; c < w; c++) o[(long)(i / k) * w + c] += a[(long)i * w + c];
      }
    }
}

// Row or column `to` of the padded, subsampled image is this one of the image.
static int from(int to, int stride, int pad) { return to * stride - pad; }
static bool inside(int i, int n) { return i >= 0 && i < n; }

void yp_subsample_forward(yp_desc s, yp_desc d, int k, int pad, const float* x, float* y) {
  const Panels p(s);
#pragma omp parallel for collapse(2) schedule(static)
  for (long i = 0; i < p.count; i++)
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        const int v = from(h, k, pad), u = from(w, k, pad);
        float* o = y + ((i * d.h + h) * d.w + w) * p.width;
        if (inside(v, s.h) && inside(u, s.w))
          std::memcpy(o, x + p.at(i, (long)v * s.w + u), 4L * p.width);
        else
          std::memset(o, 0, 4L * p.width);
      }
}

void yp_subsample_backward(yp_desc s, yp_desc d, int k, int pad, const float* dy, float* dx) {
  const Panels p(s);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < p.count; i++) {
    std::memset(dx + p.at(i, 0), 0, 4 * p.px * p.width);
    for (int h = 0; h < d.h; h++)
      for (int w = 0; w < d.w; w++) {
        const int v = from(h, k, pad), u = from(w, k, pad);
        if (inside(v, s.h) && inside(u, s.w))
          std::memcpy(dx + p.at(i, (long)v * s.w + u), dy + ((i * d.h + h) * d.w + w) * p.width, 4L * p.width);
      }
  }
}

void yp_permute(int images, long sn, long dn, long count, const int32_t* from, const int32_t* to, const float* x, float* y) {
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < images; n++)
    for (long i = 0; i < count; i++) y[n * dn + to[i]] = x[n * sn + from[i]];
}
