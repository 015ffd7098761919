// Products of an activation and a gate, and weighted sums.
#include "kernels.h"

using namespace yp;

namespace {

// A gate has a value for each value, for each channel (1 x 1 pixels) or for
// each pixel (one channel).
enum Spread { SAME, CHANNELS, PIXELS };

Spread spread(const yp_desc& g, const yp_desc& d) {
  if (g.c == d.c && g.h == d.h && g.w == d.w) return SAME;
  return g.c == d.c ? CHANNELS : PIXELS;
}

// The place of the gate's value for pixel i of panel p, the first of a vector
// unless the gate is one of PIXELS.
long place(Spread s, const Panels& l, const yp_desc& g, long p, long i) {
  if (s == SAME) return l.at(p, i);
  if (s == CHANNELS) return p * l.width;
  return (p / l.per_image * l.px + i) * block(g);
}

YP_CLONES void multiply(int w, const float* a, const float* b, float* z) {
  for (int c = 0; c < w; c++) z[c] = a[c] * b[c];
}

YP_CLONES void multiply_one(int w, float a, const float* b, float* z) {
  for (int c = 0; c < w; c++) z[c] = a * b[c];
}

YP_CLONES void add_products(int w, const float* a, const float* b, float* z) {
  for (int c = 0; c < w; c++) z[c] += a[c] * b[c];
}

void gate_pixels(const Panels& l, const yp_desc& g, const float* x, const float* dz, float* dgate) {
  yp_zero(dgate, size(g));
#pragma omp parallel for collapse(2) schedule(static)
  for (long image = 0; image < l.count / l.per_image; image++)
    for (long i = 0; i < l.px; i++) {
      double sum = 0;
      for (long p = image * l.per_image; p < (image + 1) * l.per_image; p++)
        for (int c = 0; c < l.width; c++) sum += (double)x[l.at(p, i) + c] * dz[l.at(p, i) + c];
      dgate[(image * l.px + i) * block(g)] = (float)sum;
    }
}

}  // namespace

void yp_multiply(yp_desc g, yp_desc d, const float* gate, const float* x, float* z) {
  const Panels l(d);
  const Spread s = spread(g, d);
#pragma omp parallel for collapse(2) schedule(static)
  for (long p = 0; p < l.count; p++)
    for (long i = 0; i < l.px; i++) {
      const float *a = gate + place(s, l, g, p, i), *b = x + l.at(p, i);
      if (s == PIXELS)
        multiply_one(l.width, *a, b, z + l.at(p, i));
      else
        multiply(l.width, a, b, z + l.at(p, i));
    }
}

void yp_multiply_gate(yp_desc g, yp_desc d, const float* x, const float* dz, float* dgate) {
  switch (spread(g, d)) {
    case SAME: return yp_multiply(g, d, x, dz, dgate);
    case CHANNELS: return sum_pixels(Panels(d), 1, dgate, [=](long i) { return (double)x[i] * dz[i]; });
    case PIXELS: return gate_pixels(Panels(d), g, x, dz, dgate);
  }
}

void yp_add_scaled(yp_desc s, yp_desc d, int count, const float* scale, const float* x, float* z) {
  const Panels a(s), b(d);
#pragma omp parallel for collapse(2) schedule(static)
  for (long p = 0; p < b.count; p++)
    for (long i = 0; i < b.px; i++) {
      const int first = (int)(p % b.per_image) * b.width, n = std::min(b.width, count - first);
      const long from = p / b.per_image * a.per_image + p % b.per_image;
      if (n > 0) add_products(n, scale + first, x + a.at(from, i), z + b.at(p, i));
    }
}
