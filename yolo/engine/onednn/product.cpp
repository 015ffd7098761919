// Products of an activation and a gate, weighted sums, and permutations.
#include <vector>
#include "kernels.h"

using namespace yp;

namespace {

// An activation as panels of pixels of `width` neighbouring channels: one panel
// for every image, or in a blocked order for every block of every image.
struct Layout {
  long panels, px;
  int width, per_image;
  explicit Layout(const yp_desc& d)
      : panels(d.order == YP_NHWC ? d.n : (long)d.n * blocks(d)),
        px(pixels(d)),
        width(block(d)),
        per_image(d.order == YP_NHWC ? 1 : blocks(d)) {}
  long at(long p, long i) const { return (p * px + i) * width; }
};

// A gate has a value for each value, for each channel (1 x 1 pixels) or for
// each pixel (one channel).
enum Spread { SAME, CHANNELS, PIXELS };

Spread spread(const yp_desc& g, const yp_desc& d) {
  if (g.c == d.c && g.h == d.h && g.w == d.w) return SAME;
  return g.c == d.c ? CHANNELS : PIXELS;
}

// The place of the gate's value for pixel i of panel p, the first of a vector
// unless the gate is one of PIXELS.
long place(Spread s, const Layout& l, const yp_desc& g, long p, long i) {
  if (s == SAME) return l.at(p, i);
  if (s == CHANNELS) return p * l.width;
  return (p / l.per_image * l.px + i) * block(g);
}

void gate_same(const Layout& l, const float* x, const float* dz, float* dgate) {
  const long n = l.panels * l.px * l.width;
#pragma omp parallel for simd schedule(static)
  for (long i = 0; i < n; i++) dgate[i] = x[i] * dz[i];
}

void gate_channels(const Layout& l, const float* x, const float* dz, float* dgate) {
#pragma omp parallel for schedule(static)
  for (long p = 0; p < l.panels; p++) {
    std::vector<double> sum(l.width, 0.0);
    for (long i = 0; i < l.px; i++)
      for (int c = 0; c < l.width; c++) sum[c] += (double)x[l.at(p, i) + c] * dz[l.at(p, i) + c];
    for (int c = 0; c < l.width; c++) dgate[p * l.width + c] = (float)sum[c];
  }
}

void gate_pixels(const Layout& l, const yp_desc& g, const float* x, const float* dz, float* dgate) {
  std::memset(dgate, 0, 4 * size(g));
#pragma omp parallel for schedule(static)
  for (long image = 0; image < l.panels / l.per_image; image++)
    for (long i = 0; i < l.px; i++) {
      double sum = 0;
      for (long p = image * l.per_image; p < (image + 1) * l.per_image; p++)
        for (int c = 0; c < l.width; c++) sum += (double)x[l.at(p, i) + c] * dz[l.at(p, i) + c];
      dgate[(image * l.px + i) * block(g)] = (float)sum;
    }
}

}  // namespace

void yp_multiply(yp_desc g, yp_desc d, const float* gate, const float* x, float* z) {
  const Layout l(d);
  const Spread s = spread(g, d);
  const int step = s == PIXELS ? 0 : 1;
#pragma omp parallel for schedule(static)
  for (long p = 0; p < l.panels; p++)
    for (long i = 0; i < l.px; i++) {
      const float *a = gate + place(s, l, g, p, i), *b = x + l.at(p, i);
      float* o = z + l.at(p, i);
      for (int c = 0; c < l.width; c++) o[c] = a[c * step] * b[c];
    }
}

void yp_multiply_gate(yp_desc g, yp_desc d, const float* x, const float* dz, float* dgate) {
  const Layout l(d);
  switch (spread(g, d)) {
    case SAME: return gate_same(l, x, dz, dgate);
    case CHANNELS: return gate_channels(l, x, dz, dgate);
    case PIXELS: return gate_pixels(l, g, x, dz, dgate);
  }
}

void yp_add_scaled(yp_desc s, yp_desc d, int count, const float* scale, const float* x, float* z) {
  const Layout a(s), b(d);
#pragma omp parallel for schedule(static)
  for (long p = 0; p < b.panels; p++) {
    const int first = (int)(p % b.per_image) * b.width, n = std::min(b.width, count - first);
    const long from = p / b.per_image * a.per_image + p % b.per_image;
    for (long i = 0; n > 0 && i < b.px; i++)
      for (int c = 0; c < n; c++) z[b.at(p, i) + c] += scale[first + c] * x[a.at(from, i) + c];
  }
}

void yp_permute(int images, long sn, long dn, long count, const int32_t* from, const int32_t* to, const float* x, float* y) {
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < images; n++)
    for (long i = 0; i < count; i++) y[n * dn + to[i]] = x[n * sn + from[i]];
}
