// Batch norm + activation fused, and bias + activation, forward and backward.
// Sums are taken in float over short runs of rows and joined in double in a
// fixed order, so a result does not depend on the number of threads.
#include "kernels.h"

#include <cmath>
#include <vector>

using namespace yp;

namespace {

// A chunk is a run of rows of one panel, small enough to stay in a core's cache.
struct Chunks {
  Rows r;
  long rows, per_panel, total;
  explicit Chunks(const yp_desc& d)
      : r(d),
        rows(std::max(16L, std::min(1024L, 32768L / r.width))),
        per_panel((r.rows + rows - 1) / rows),
        total(r.panels * per_panel) {}
  long panel(long i) const { return i / per_panel; }
  long first(long i) const { return i % per_panel * rows; }
  long count(long i) const { return std::min(rows, r.rows - first(i)); }
  long offset(long i) const { return (panel(i) * r.rows + first(i)) * r.width; }
  int channel(long i) const { return r.channel(panel(i)); }
};

// Per-channel vectors padded with zeros to whole blocks, so that kernels need
// no special case for the last block.
std::vector<float> padded(const yp_desc& d) { return std::vector<float>((size_t)blocks(d) * block(d), 0.f); }

template <int W> YP_INLINE void stats(long rows, int width, const float* x, const float* shift, float* s, float* q) {
  const int w = W ? W : width;
  for (long r = 0; r < rows; r++)
#pragma omp simd
    for (int c = 0; c < w; c++) {
      float v = x[r * w + c] - shift[c];
      s[c] += v;
      q[c] += v * v;
    }
}

YP_CLONES void stats_any(long rows, int width, const float* x, const float* shift, float* s, float* q) {
  if (width == 8) {
    float S[8] = {0}, Q[8] = {0}, K[8];
    std::copy(shift, shift + 8, K);
    stats<8>(rows, 8, x, K, S, Q);
    std::copy(S, S + 8, s);
    std::copy(Q, Q + 8, q);
    return;
  }
  stats<0>(rows, width, x, shift, s, q);
}

template <int A> YP_INLINE void scale(long rows, int w, const float* x, const float* k, const float* b, float* y) {
  for (long r = 0; r < rows; r++)
#pragma omp simd
    for (int c = 0; c < w; c++) y[r * w + c] = act<A>(x[r * w + c] * k[c] + b[c]);
}

YP_CLONES void scale_any(int act, long rows, int w, const float* x, const float* k, const float* b, float* y) {
  if (w == 8) {
    YP_BY_ACT(act, scale<A>(rows, 8, x, k, b, y));
    return;
  }
  YP_BY_ACT(act, scale<A>(rows, w, x, k, b, y));
}

// g = dy*act'(k*x + b); s += g, q += g*(x - m).
template <int A>
YP_INLINE void sums(long rows, int w, const float* x, const float* dy, const float* k, const float* b, const float* m,
                    float* s, float* q) {
  for (long r = 0; r < rows; r++)
#pragma omp simd
    for (int c = 0; c < w; c++) {
      float v = x[r * w + c], g = dy[r * w + c] * slope<A>(v * k[c] + b[c]);
      s[c] += g;
      q[c] += g * (v - m[c]);
    }
}

YP_CLONES void sums_any(int act, long rows, int w, const float* x, const float* dy, const float* k, const float* b,
                        const float* m, float* s, float* q) {
  if (w == 8) {
    float S[8] = {0}, Q[8] = {0};
    YP_BY_ACT(act, sums<A>(rows, 8, x, dy, k, b, m, S, Q));
    std::copy(S, S + 8, s);
    std::copy(Q, Q + 8, q);
    return;
  }
  YP_BY_ACT(act, sums<A>(rows, w, x, dy, k, b, m, s, q));
}

// dx = k*g + a*x + e.
template <int A>
YP_INLINE void grad(long rows, int w, const float* x, const float* dy, const float* k, const float* b, const float* a,
                    const float* e, float* dx) {
  for (long r = 0; r < rows; r++)
#pragma omp simd
    for (int c = 0; c < w; c++) {
      float v = x[r * w + c], g = dy[r * w + c] * slope<A>(v * k[c] + b[c]);
      dx[r * w + c] = k[c] * g + a[c] * v + e[c];
    }
}

YP_CLONES void grad_any(int act, long rows, int w, const float* x, const float* dy, const float* k, const float* b,
                        const float* a, const float* e, float* dx) {
  if (w == 8) {
    YP_BY_ACT(act, grad<A>(rows, 8, x, dy, k, b, a, e, dx));
    return;
  }
  YP_BY_ACT(act, grad<A>(rows, w, x, dy, k, b, a, e, dx));
}

// Joins the chunks' partial sums, in order, into one double per channel.
void join(const Chunks& ch, const std::vector<float>& part, std::vector<double>& out) {
  std::fill(out.begin(), out.end(), 0.0);
  for (long i = 0; i < ch.total; i++)
    for (int c = 0; c < ch.r.width; c++) out[ch.channel(i) + c] += part[i * ch.r.width + c];
}

void apply(const yp_desc& d, int act, const float* x, const float* k, const float* b, float* y) {
  Chunks ch(d);
  const int w = ch.r.width;
  const bool pads = act == YP_LOGISTIC && d.c % w != 0;
#pragma omp parallel for schedule(static)
  for (long i = 0; i < ch.total; i++) {
    float* o = y + ch.offset(i);
    const int c0 = ch.channel(i);
    scale_any(act, ch.count(i), w, x + ch.offset(i), k + c0, b + c0, o);
    if (pads && c0 + w > d.c)  // logistic(0) is not 0, and padding must stay 0
      for (long r = 0; r < ch.count(i); r++) std::fill(o + r * w + (d.c - c0), o + (r + 1) * w, 0.f);
  }
}

// The two passes of a backward step share this state.
struct Back {
  std::vector<float> k, b, mean, a, e;
  std::vector<double> s, q;
  explicit Back(const yp_desc& d)
      : k(padded(d)), b(padded(d)), mean(padded(d)), a(padded(d)), e(padded(d)), s(k.size()), q(k.size()) {}
};

void reduce(const yp_desc& d, int act, const float* x, const float* dy, Back& v) {
  Chunks ch(d);
  const int w = ch.r.width;
  std::vector<float> ps((size_t)ch.total * w, 0.f), pq((size_t)ch.total * w, 0.f);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < ch.total; i++) {
    const int c0 = ch.channel(i);
    sums_any(act, ch.count(i), w, x + ch.offset(i), dy + ch.offset(i), &v.k[c0], &v.b[c0], &v.mean[c0], &ps[i * w], &pq[i * w]);
  }
  join(ch, ps, v.s);
  join(ch, pq, v.q);
}

void propagate(const yp_desc& d, int act, const float* x, const float* dy, const Back& v, float* dx) {
  Chunks ch(d);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < ch.total; i++) {
    const int c0 = ch.channel(i);
    grad_any(act, ch.count(i), ch.r.width, x + ch.offset(i), dy + ch.offset(i), &v.k[c0], &v.b[c0], &v.a[c0], &v.e[c0],
             dx + ch.offset(i));
  }
}

}  // namespace

int yp_norm_forward(yp_desc d, int act, float eps, const float* x, const float* gamma, const float* beta,
                    const float* shift, float* mean, float* var, float* y) {
  Chunks ch(d);
  const int w = ch.r.width;
  std::vector<float> ps((size_t)ch.total * w, 0.f), pq((size_t)ch.total * w, 0.f), sh(padded(d)), k(padded(d)), b(padded(d));
  std::copy(shift, shift + d.c, sh.begin());
#pragma omp parallel for schedule(static)
  for (long i = 0; i < ch.total; i++)
    stats_any(ch.count(i), w, x + ch.offset(i), &sh[ch.channel(i)], &ps[i * w], &pq[i * w]);
  std::vector<double> s(k.size()), q(k.size());
  join(ch, ps, s);
  join(ch, pq, q);
  const double M = (double)d.n * pixels(d);
  for (int c = 0; c < d.c; c++) {
    double m = s[c] / M, v = std::max(0.0, q[c] / M - m * m);
    mean[c] = (float)(m + shift[c]);
    var[c] = (float)v;
    double kk = gamma[c] / std::sqrt(v + eps);
    k[c] = (float)kk;
    b[c] = (float)(beta[c] - (m + shift[c]) * kk);
  }
  apply(d, act, x, k.data(), b.data(), y);
  return 0;
}

// With xhat = (x - mean)*inv and M values a channel:
//   dx = k*(g - sum(g)/M - xhat*sum(g*xhat)/M), dgamma = sum(g*xhat), dbeta = sum(g)
int yp_norm_backward(yp_desc d, int act, float eps, const float* x, const float* gamma, const float* beta,
                     const float* mean, const float* var, const float* dy, float* dx, float* dgamma, float* dbeta) {
  Back v(d);
  for (int c = 0; c < d.c; c++) {
    double kk = gamma[c] / std::sqrt((double)var[c] + eps);
    v.k[c] = (float)kk;
    v.b[c] = (float)(beta[c] - mean[c] * kk);
    v.mean[c] = mean[c];
  }
  reduce(d, act, x, dy, v);
  const double M = (double)d.n * pixels(d);
  for (int c = 0; c < d.c; c++) {
    double inv = 1 / std::sqrt((double)var[c] + eps), kk = gamma[c] * inv, dg = v.q[c] * inv;
    dgamma[c] = (float)dg;
    dbeta[c] = (float)v.s[c];
    v.a[c] = (float)(-kk * dg * inv / M);
    v.e[c] = (float)(-kk * v.s[c] / M + kk * dg * inv * mean[c] / M);
  }
  propagate(d, act, x, dy, v, dx);
  return 0;
}

int yp_bias_forward(yp_desc d, int act, const float* x, const float* bias, float* y) {
  std::vector<float> k(padded(d)), b(padded(d));
  std::fill(k.begin(), k.begin() + d.c, 1.f);
  std::copy(bias, bias + d.c, b.begin());
  apply(d, act, x, k.data(), b.data(), y);
  return 0;
}

int yp_bias_backward(yp_desc d, int act, const float* x, const float* bias, const float* dy, float* dx, float* dbias) {
  Back v(d);
  std::fill(v.k.begin(), v.k.begin() + d.c, 1.f);
  std::copy(bias, bias + d.c, v.b.begin());
  reduce(d, act, x, dy, v);
  for (int c = 0; c < d.c; c++) dbias[c] = (float)v.s[c];
  propagate(d, act, x, dy, v, dx);
  return 0;
}

namespace {
template <int A> YP_INLINE void add(long n, const float* a, const float* b, float* y, float* sum) {
#pragma omp simd
  for (long i = 0; i < n; i++) {
    float z = a[i] + b[i];
    sum[i] = z;
    y[i] = act<A>(z);
  }
}
YP_CLONES void add_any(int act, long n, const float* a, const float* b, float* y, float* sum) {
  YP_BY_ACT(act, add<A>(n, a, b, y, sum));
}
template <int A> YP_INLINE void activate(long n, const float* z, float* y) {
#pragma omp simd
  for (long i = 0; i < n; i++) y[i] = act<A>(z[i]);
}
YP_CLONES void act_any(int act, long n, const float* z, float* y) { YP_BY_ACT(act, activate<A>(n, z, y)); }
// Puts zeros back where a block is not full: logistic makes 0.5 of them.
void clear_padding(const yp_desc& d, int act, float* y) {
  if (act != YP_LOGISTIC || d.c % block(d) == 0) return;
  Rows r(d);
  const int last = d.c % r.width;
  for (long p = r.per_image - 1; p < r.panels; p += r.per_image)
    for (long i = 0; i < r.rows; i++) std::fill(y + (p * r.rows + i) * r.width + last, y + (p * r.rows + i + 1) * r.width, 0.f);
}
template <int A> YP_INLINE void back(long n, const float* z, const float* dy, float* dz) {
#pragma omp simd
  for (long i = 0; i < n; i++) dz[i] = dy[i] * slope<A>(z[i]);
}
YP_CLONES void back_any(int act, long n, const float* z, const float* dy, float* dz) {
  YP_BY_ACT(act, back<A>(n, z, dy, dz));
}
constexpr long kRun = 16384;
}  // namespace

void yp_add_forward(yp_desc d, int act, const float* a, const float* b, float* y, float* sum) {
  const long n = size(d);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < n; i += kRun) add_any(act, std::min(kRun, n - i), a + i, b + i, y + i, sum + i);
  clear_padding(d, act, y);
}

void yp_act_forward(yp_desc d, int act, const float* z, float* y) {
  const long n = size(d);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < n; i += kRun) act_any(act, std::min(kRun, n - i), z + i, y + i);
  clear_padding(d, act, y);
}

void yp_act_backward(yp_desc d, int act, const float* z, const float* dy, float* dz) {
  const long n = size(d);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < n; i += kRun) back_any(act, std::min(kRun, n - i), z + i, dy + i, dz + i);
}
