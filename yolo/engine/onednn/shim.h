// C interface of the oneDNN shim. A call returns 0, or 1 with the reason in
// yp_error(). All calls come from one thread (see thread.go).
#ifndef YOLOPRUNE_SHIM_H
#define YOLOPRUNE_SHIM_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

// Memory order of an activation of n images, c channels, h x w pixels.
// YP_BLOCKED8/16 is oneDNN's nChw8c/nChw16c: channels in runs of 8 or 16, the
// last run filled up with zeros.
enum { YP_NHWC = 0, YP_NCHW = 1, YP_BLOCKED8 = 8, YP_BLOCKED16 = 16 };
typedef struct { int n, c, h, w, order; } yp_desc;

enum { YP_LINEAR, YP_LEAKY, YP_RELU, YP_RELU6, YP_LOGISTIC, YP_MISH, YP_SWISH };

const char* yp_error(void);
const char* yp_version(void);
int yp_has_avx512(void);
int yp_start(int threads);   // 0 keeps the OpenMP default; returns the number in use
long yp_live(void);          // objects made and not yet freed

typedef struct yp_conv yp_conv;
typedef struct {
  yp_desc src, dst;
  int groups, size, stride, pad;
  int dilation;              // distance between taps, at least 1
  int training;              // forward without bias and activation, plus both backward passes
  int need_dx;               // training: the data gradient is wanted
  int act;                   // inference: fused behind the bias
  int direct;                // oneDNN is not asked: direct.cpp runs every pass
} yp_conv_spec;
yp_conv* yp_conv_new(const yp_conv_spec* s);
void yp_conv_free(yp_conv* c);
void yp_conv_info(const yp_conv* c, char* out, size_t n);
int yp_conv_freeze(yp_conv* c, const float* w, const float* b);  // inference: copies kernel and bias
int yp_conv_infer(yp_conv* c, const float* x, float* y);
int yp_conv_forward(yp_conv* c, const float* x, const float* w, float* y);
int yp_conv_backward_data(yp_conv* c, const float* dy, const float* w, float* dx);
int yp_conv_backward_weights(yp_conv* c, const float* x, const float* dy, float* dw);

// Batch norm with batch statistics, then an activation, in two passes:
//   y = act(k*x + b), k = gamma*inv, b = beta - mean*k, inv = 1/sqrt(var + eps)
// shift is any value near the mean; it keeps the variance sum accurate.
int yp_norm_forward(yp_desc d, int act, float eps, const float* x, const float* gamma, const float* beta,
                    const float* shift, float* mean, float* var, float* y);
int yp_norm_backward(yp_desc d, int act, float eps, const float* x, const float* gamma, const float* beta,
                     const float* mean, const float* var, const float* dy, float* dx, float* dgamma, float* dbeta);
// y = act(x + bias) and its gradient.
int yp_bias_forward(yp_desc d, int act, const float* x, const float* bias, float* y);
int yp_bias_backward(yp_desc d, int act, const float* x, const float* bias, const float* dy, float* dx, float* dbias);

// Copies count channels from channel sc of s to channel dc of d; orders may differ.
void yp_copy_channels(yp_desc s, int sc, yp_desc d, int dc, int count, const float* x, float* y);
void yp_zero(float* y, long n);
void yp_upsample_forward(yp_desc s, int stride, const float* x, float* y);
void yp_upsample_backward(yp_desc s, int stride, const float* dy, float* dx);
// Takes every stride-th pixel of every stride-th row of an image with pad zeros
// on every side, and the reverse, which leaves zeros between.
void yp_subsample_forward(yp_desc s, yp_desc d, int stride, int pad, const float* x, float* y);
void yp_subsample_backward(yp_desc s, yp_desc d, int stride, int pad, const float* dy, float* dx);
// y[to[i]] = x[from[i]] in every image; an image takes sn values of x, dn of y.
void yp_permute(int images, long sn, long dn, long count, const int32_t* from, const int32_t* to, const float* x, float* y);
// where, unless it is null, holds for every output value the place of the first
// maximum in its window, row by row.
void yp_maxpool_forward(yp_desc s, yp_desc d, int size, int stride, int before, const float* x, float* y, uint16_t* where);
void yp_maxpool_backward(yp_desc s, yp_desc d, int size, int stride, int before, const float* dy, const uint16_t* where, float* dx);
// The mean over all pixels, and over the pixels of a window that exist.
void yp_avgpool_forward(yp_desc s, const float* x, float* y);
void yp_avgpool_backward(yp_desc s, const float* dy, float* dx);
void yp_local_avgpool_forward(yp_desc s, yp_desc d, int size, int stride, int before, const float* x, float* y);
void yp_local_avgpool_backward(yp_desc s, yp_desc d, int size, int stride, int before, const float* dy, float* dx);
// z = gate*x, where the gate has x's shape, 1 x 1 pixels, or one channel; and
// the gradient of the gate. That of x is gate*dz.
void yp_multiply(yp_desc g, yp_desc d, const float* gate, const float* x, float* z);
void yp_multiply_gate(yp_desc g, yp_desc d, const float* x, const float* dz, float* dgate);
// z += scale*x for the first count channels, each with its scale.
void yp_add_scaled(yp_desc s, yp_desc d, int count, const float* scale, const float* x, float* z);
// y = act(z), with the padding of a block kept at zero; y may be z.
void yp_act_forward(yp_desc d, int act, const float* z, float* y);
// sum = a + b, y = act(sum); y, sum and a may be one. With a linear activation
// this is a plain sum.
void yp_add_forward(yp_desc d, int act, const float* a, const float* b, float* y, float* sum);
void yp_act_backward(yp_desc d, int act, const float* z, const float* dy, float* dz);

#ifdef __cplusplus
}
#endif
#endif
