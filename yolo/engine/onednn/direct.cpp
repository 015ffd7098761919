// Convolution as it is written,
//   y[n,k,p,q] = sum over c,r,s of w[k,c,r,s] * x[n, first(k)+c, p*stride-pad+r*d, q*stride-pad+s*d]
// with d the dilation, where x is zero outside the image and first(k) is the first channel of filter
// k's group. A kernel value meets a whole row of the image at once, which
// vectorises for every number of channels.
#include "direct.h"
#include "kernels.h"

namespace yp {
namespace {

// The outputs [first, last) along one side whose tap falls on the image; output
// q reads q*stride - pad + tap, tap in pixels.
struct Span {
  int first, last, offset;
  Span(int in, int out, int stride, int pad, int tap) : offset(tap - pad) {
    first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
    last = in - 1 - offset < 0 ? 0 : std::min(out, (in - 1 - offset) / stride + 1);
  }
  int length() const { return std::max(0, last - first); }
};

// A spec's sizes: planes of the image and of the output, channels and filters of
// a group.
struct Sizes {
  int channels, filters, taps;
  long in, out;
  explicit Sizes(const yp_conv_spec& s)
      : channels(s.src.c / s.groups), filters(s.dst.c / s.groups), taps(s.size * s.size), in(pixels(s.src)), out(pixels(s.dst)) {}
};

YP_CLONES void gather(int n, float w, const float* x, int stride, float* y) {
  if (stride == 1) {
    for (int i = 0; i < n; i++) y[i] += w * x[i];
    return;
  }
  for (int i = 0; i < n; i++) y[i] += w * x[(long)i * stride];
}

YP_CLONES void scatter(int n, float w, const float* y, int stride, float* x) {
  if (stride == 1) {
    for (int i = 0; i < n; i++) x[i] += w * y[i];
    return;
  }
  for (int i = 0; i < n; i++) x[(long)i * stride] += w * y[i];
}

YP_CLONES float product(int n, const float* x, int stride, const float* y) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < n; i++) sum += x[(long)i * stride] * y[i];
  return sum;
}

// Calls row(x, y, count) for the rows of a plane that a tap joins: x advances by
// the stride for every y.
template <class F> void rows(const yp_conv_spec& s, int tap, F row) {
  const Span h(s.src.h, s.dst.h, s.stride, s.pad, tap / s.size * s.dilation),
      w(s.src.w, s.dst.w, s.stride, s.pad, tap % s.size * s.dilation);
  if (w.length() == 0) return;
  for (int p = h.first; p < h.last; p++)
    row((long)(p * s.stride + h.offset) * s.src.w + w.first * s.stride + w.offset, (long)p * s.dst.w + w.first, w.length());
}

}  // namespace

void direct_forward(const yp_conv_spec& s, const float* x, const float* w, const float* bias, float* y) {
  const Sizes z(s);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < s.src.n; n++)
    for (int k = 0; k < s.dst.c; k++) {
      float* o = y + ((long)n * s.dst.c + k) * z.out;
      std::fill(o, o + z.out, bias ? bias[k] : 0.f);
      for (int c = 0; c < z.channels; c++) {
        const float* a = x + ((long)n * s.src.c + k / z.filters * z.channels + c) * z.in;
        const float* v = w + ((long)k * z.channels + c) * z.taps;
        for (int t = 0; t < z.taps; t++)
          rows(s, t, [&](long i, long j, int count) { gather(count, v[t], a + i, s.stride, o + j); });
      }
    }
  if (s.training || s.act == YP_LINEAR) return;
  yp_desc planar = s.dst;
  planar.order = YP_NCHW;
  yp_act_forward(planar, s.act, y, y);
}

void direct_backward_data(const yp_conv_spec& s, const float* dy, const float* w, float* dx) {
  const Sizes z(s);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < s.src.n; n++)
    for (int c = 0; c < s.src.c; c++) {
      float* o = dx + ((long)n * s.src.c + c) * z.in;
      std::fill(o, o + z.in, 0.f);
      const int first = c / z.channels * z.filters;
      for (int k = first; k < first + z.filters; k++) {
        const float* a = dy + ((long)n * s.dst.c + k) * z.out;
        const float* v = w + ((long)k * z.channels + c % z.channels) * z.taps;
        for (int t = 0; t < z.taps; t++)
          rows(s, t, [&](long i, long j, int count) { scatter(count, v[t], a + j, s.stride, o + i); });
      }
    }
}

void direct_backward_weights(const yp_conv_spec& s, const float* x, const float* dy, float* dw) {
  const Sizes z(s);
#pragma omp parallel for collapse(2) schedule(static)
  for (int k = 0; k < s.dst.c; k++)
    for (int c = 0; c < z.channels; c++)
      for (int t = 0; t < z.taps; t++) {
        double sum = 0;
        for (int n = 0; n < s.src.n; n++) {
          const float* a = x + ((long)n * s.src.c + k / z.filters * z.channels + c) * z.in;
          const float* b = dy + ((long)n * s.dst.c + k) * z.out;
          rows(s, t, [&](long i, long j, int count) { sum += product(count, a + i, s.stride, b + j); });
        }
        dw[((long)k * z.channels + c) * z.taps + t] = (float)sum;
      }
}

}  // namespace yp
