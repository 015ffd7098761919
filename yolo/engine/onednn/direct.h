// Plain convolution kernels for the shapes that oneDNN has no fast code for.
#ifndef YOLOPRUNE_DIRECT_H
#define YOLOPRUNE_DIRECT_H
#include "shim.h"

namespace yp {

// Activations are NCHW whatever order the spec names, kernels are K x C/groups
// x R x S. bias may be null; the spec's activation follows in inference only.
void direct_forward(const yp_conv_spec& s, const float* x, const float* w, const float* bias, float* y);
void direct_backward_data(const yp_conv_spec& s, const float* dy, const float* w, float* dx);
void direct_backward_weights(const yp_conv_spec& s, const float* x, const float* dy, float* dw);

}  // namespace yp
#endif
