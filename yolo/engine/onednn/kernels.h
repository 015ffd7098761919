// Shared by the shim's C++ files: errors, object count, row geometry, activations.
#ifndef YOLOPRUNE_KERNELS_H
#define YOLOPRUNE_KERNELS_H
// Without this gcc keeps a branch for every choice and vectorises no kernel.
// (cgo takes no such flag on the command line.)
#pragma GCC optimize("no-trapping-math", "no-math-errno")
#include <algorithm>
#include <cstring>
#include <string>
#include "shim.h"

// One copy of a kernel per instruction set, chosen by the loader.
#define YP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define YP_INLINE static inline __attribute__((always_inline))

namespace yp {

int fail(const std::string& why);
void count(int delta);

inline int block(const yp_desc& d) { return d.order == YP_NHWC ? d.c : d.order; }
inline int blocks(const yp_desc& d) { return (d.c + block(d) - 1) / block(d); }
inline long pixels(const yp_desc& d) { return (long)d.h * d.w; }
inline long size(const yp_desc& d) { return (long)d.n * blocks(d) * pixels(d) * block(d); }

// An activation seen as panels of rows: every row is `width` neighbouring
// channels of one pixel. NHWC is one panel of N*H*W rows; a blocked order has
// N*blocks panels of H*W rows.
struct Rows {
  long panels, rows;
  int width, per_image;
  explicit Rows(const yp_desc& d)
      : panels(d.order == YP_NHWC ? 1 : (long)d.n * blocks(d)),
        rows(d.order == YP_NHWC ? d.n * pixels(d) : pixels(d)),
        width(block(d)),
        per_image(blocks(d)) {}
  int channel(long panel) const { return (int)(panel % per_image) * width; }
};

// An activation seen as panels of pixels: every pixel is `width` neighbouring
// channels. NHWC has one panel for each image, a blocked order one for each block
// of each image.
struct Panels {
  long count, px;
  int width, per_image;
  explicit Panels(const yp_desc& d)
      : count(d.order == YP_NHWC ? d.n : (long)d.n * blocks(d)),
        px(pixels(d)),
        width(block(d)),
        per_image(d.order == YP_NHWC ? 1 : blocks(d)) {}
  long at(long p, long i) const { return (p * px + i) * width; }
};

// Sums value(place) over the pixels of every channel of every panel, in double,
// and writes the sum times scale.
template <class F> void sum_pixels(const Panels& l, double scale, float* out, F value) {
  constexpr int run = 64;
#pragma omp parallel for collapse(2) schedule(static)
  for (long p = 0; p < l.count; p++)
    for (int c0 = 0; c0 < l.width; c0 += run) {
      double sum[run] = {0};
      const int n = std::min(run, l.width - c0);
      for (long i = 0; i < l.px; i++)
        for (int c = 0; c < n; c++) sum[c] += value(l.at(p, i) + c0 + c);
      for (int c = 0; c < n; c++) out[p * l.width + c0 + c] = (float)(sum[c] * scale);
    }
}

// e^x to about 2 ulp: range reduction by ln 2, then a degree-6 polynomial
// (Cephes). Written so that the compiler turns it into vector code.
YP_INLINE float exp_(float x) {
  x = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
  float n = (x * 1.44269504f + 12582912.f) - 12582912.f;
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  int32_t bits = ((int32_t)n + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return p * scale;
}

YP_INLINE float logistic(float z) { return 1.f / (1.f + exp_(-z)); }

// tanh(ln(1 + e^z)) = n/(n + 2) with n = e^z(e^z + 2); it is 1 from z = 20 on.
YP_INLINE float mish_gate(float z) {
  float e = exp_(z < 20.f ? z : 20.f), n = e * (e + 2.f);
  return n / (n + 2.f);
}

// Both sides of a choice are computed before it, so that it becomes a vector
// select and not a branch.
template <int ACT> YP_INLINE float act(float z) {
  const float low = 0.1f * z;
  if (ACT == YP_LEAKY) return z > low ? z : low;
  if (ACT == YP_RELU) return z > 0 ? z : 0.f;
  if (ACT == YP_RELU6) return z < 0 ? 0.f : z > 6 ? 6.f : z;
  if (ACT == YP_LOGISTIC) return logistic(z);
  if (ACT == YP_MISH) return z * mish_gate(z);
  if (ACT == YP_SWISH) return z * logistic(z);
  return z;
}

// The derivative of act at z.
template <int ACT> YP_INLINE float slope(float z) {
  if (ACT == YP_LEAKY) return z > 0 ? 1.f : 0.1f;
  if (ACT == YP_RELU) return z > 0 ? 1.f : 0.f;
  if (ACT == YP_RELU6) return z > 0 ? (z < 6 ? 1.f : 0.f) : 0.f;
  if (ACT == YP_LOGISTIC) {
    const float s = logistic(z);
    return s * (1 - s);
  }
  if (ACT == YP_MISH) {
    const float t = mish_gate(z);
    return t + z * (1 - t * t) * logistic(z);
  }
  if (ACT == YP_SWISH) {
    const float s = logistic(z);
    return s * (1 + z * (1 - s));
  }
  return 1.f;
}

// Runs CALL with the constant A set to the activation's number.
#define YP_BY_ACT(act, CALL)                                     \
  switch (act) {                                                 \
    case YP_LEAKY: { constexpr int A = YP_LEAKY; CALL; break; }       \
    case YP_RELU: { constexpr int A = YP_RELU; CALL; break; }         \
    case YP_RELU6: { constexpr int A = YP_RELU6; CALL; break; }       \
    case YP_LOGISTIC: { constexpr int A = YP_LOGISTIC; CALL; break; } \
    case YP_MISH: { constexpr int A = YP_MISH; CALL; break; }         \
    case YP_SWISH: { constexpr int A = YP_SWISH; CALL; break; }       \
    default: { constexpr int A = YP_LINEAR; CALL; break; }            \
  }

}  // namespace yp
#endif
