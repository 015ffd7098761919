// Convolution on oneDNN. Activations keep the order that the caller gives; the
// kernel is stored as K x C/groups x R x S and brought into the order that the
// primitive prefers. A pass for which oneDNN has only its slow reference code
// in the caller's order is given other orders, with reorders around it; when
// none is fast, the kernels of direct.cpp run it.
#include <omp.h>
#include <xmmintrin.h>
#include <atomic>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <vector>
#include "direct.h"
#include "kernels.h"

using namespace dnnl;
using dims = memory::dims;
using tag = memory::format_tag;

namespace yp {
static thread_local std::string last_error;
static std::atomic<long> live{0};
int fail(const std::string& why) {
  last_error = why;
  return 1;
}
void count(int delta) { live += delta; }
}  // namespace yp

namespace {

engine& cpu() {
  static engine e(engine::kind::cpu, 0);
  return e;
}
stream& queue() {
  static stream s(cpu());
  return s;
}

memory::desc activation(const yp_desc& d, tag t) { return memory::desc(dims{d.n, d.c, d.h, d.w}, memory::data_type::f32, t); }

tag order(int o) {
  return o == YP_NHWC ? tag::nhwc : o == YP_NCHW ? tag::nchw : o == YP_BLOCKED8 ? tag::nChw8c : tag::nChw16c;
}

memory::desc kernel(const yp_conv_spec& s, bool any) {
  const int ic = s.src.c, oc = s.dst.c, g = s.groups, k = s.size;
  if (g == 1) return memory::desc(dims{oc, ic, k, k}, memory::data_type::f32, any ? tag::any : tag::oihw);
  return memory::desc(dims{g, oc / g, ic / g, k, k}, memory::data_type::f32, any ? tag::any : tag::goihw);
}

bool is_reference(const char* info) { return std::strstr(info, "ref") != nullptr; }

// One argument of a primitive: the caller's memory and, where the primitive
// wants another order, memory of its own and the reorder between the two.
struct Arg {
  memory user, own;
  reorder move;
  bool differs = false;
  void init(const memory::desc& u, const memory::desc& p, bool input) {
    user = memory(u, cpu(), DNNL_MEMORY_NONE);
    differs = u != p;
    if (!differs) return;
    own = memory(p, cpu());
    move = input ? reorder(user, own) : reorder(own, user);
  }
  memory& in(const float* p) {
    user.set_data_handle(const_cast<float*>(p));
    if (!differs) return user;
    move.execute(queue(), user, own);
    return own;
  }
  memory& out(float* p) {
    user.set_data_handle(p);
    return differs ? own : user;
  }
  void flush() {
    if (differs) move.execute(queue(), own, user);
  }
};

// The orders to try for a pass, best first.
struct Orders {
  tag src, dst;
};
std::vector<Orders> choices(const yp_conv_spec& s) {
  return {{order(s.src.order), order(s.dst.order)}, {tag::nhwc, tag::nhwc}, {tag::any, tag::any}, {tag::nchw, tag::nchw}};
}

// Calls make(orders) until one gives a primitive that is not reference code.
template <class PD, class F> std::optional<PD> choose(const yp_conv_spec& s, F make) {
  if (s.direct) return {};
  for (const Orders& o : choices(s)) {
    try {
      PD pd = make(o);
      if (!is_reference(pd.impl_info_str())) return pd;
    } catch (dnnl::error&) {
    }
  }
  return {};
}

algorithm eltwise(int act) {
  switch (act) {
    case YP_RELU6: return algorithm::eltwise_bounded_relu;
    case YP_LOGISTIC: return algorithm::eltwise_logistic;
    case YP_MISH: return algorithm::eltwise_mish;
    case YP_SWISH: return algorithm::eltwise_swish;
    default: return algorithm::eltwise_relu;
  }
}

float alpha(int act) { return act == YP_LEAKY ? 0.1f : act == YP_RELU6 ? 6.f : act == YP_SWISH ? 1.f : 0.f; }

using fwd = convolution_forward;
using bwd_d = convolution_backward_data;
using bwd_w = convolution_backward_weights;

}  // namespace

struct yp_conv {
  yp_conv_spec s;
  std::optional<fwd> f;  // without a value: direct.cpp
  std::optional<bwd_d> d;
  std::optional<bwd_w> w;
  Arg fx, fw, fy, ddy, dw, ddx, wx, wdy, wdw;
  memory::desc kernel_desc;
  memory kernel_frozen, bias_frozen;
  std::string info;

  explicit yp_conv(const yp_conv_spec& spec) : s(spec) {
    auto fp = forward_desc();
    if (fp) f.emplace(*fp);
    kernel_desc = fp ? fp->weights_desc() : kernel(s, false);
    fx.init(src(), fp ? fp->src_desc() : planar(s.src), true);
    fy.init(dst(), fp ? fp->dst_desc() : planar(s.dst), false);
    note("forward", fp ? fp->impl_info_str() : kDirect, fx.differs || fy.differs);
    if (!s.training) return;
    fw.init(kernel(s, false), kernel_desc, true);
    if (s.need_dx) init_data(fp);
    init_weights(fp);
  }

  static constexpr const char* kDirect = "direct";
  memory::desc src() const { return activation(s.src, order(s.src.order)); }
  memory::desc dst() const { return activation(s.dst, order(s.dst.order)); }
  static memory::desc planar(const yp_desc& d) { return activation(d, tag::nchw); }
  dims strides() const { return {s.stride, s.stride}; }
  dims pads() const { return {s.pad, s.pad}; }
  dims dilates() const { return {s.dilation - 1, s.dilation - 1}; }  // oneDNN counts the pixels between taps
  void note(const char* pass, const char* impl, bool moved) {
    info += std::string(info.empty() ? "" : ", ") + pass + " " + impl + (moved ? " with reorder" : "");
  }

  std::optional<fwd::primitive_desc> forward_desc() const {
    primitive_attr attr;
    if (!s.training && s.act != YP_LINEAR) {
      post_ops ops;
      ops.append_eltwise(1.f, eltwise(s.act), alpha(s.act), 0.f);
      attr.set_post_ops(ops);
    }
    return choose<fwd::primitive_desc>(s, [&](Orders o) {
      auto x = activation(s.src, o.src), y = activation(s.dst, o.dst), k = kernel(s, true);
      if (s.training)
        return fwd::primitive_desc({prop_kind::forward_training, algorithm::convolution_direct, x, k, y, strides(), dilates(), pads(), pads()}, attr, cpu());
      memory::desc b(dims{s.dst.c}, memory::data_type::f32, tag::x);
      return fwd::primitive_desc({prop_kind::forward_inference, algorithm::convolution_direct, x, k, b, y, strides(), dilates(), pads(), pads()}, attr, cpu());
    });
  }

  // A gradient's primitive needs the forward one as a hint.
  void init_data(const std::optional<fwd::primitive_desc>& hint) {
    std::optional<bwd_d::primitive_desc> pd;
    if (hint)
      pd = choose<bwd_d::primitive_desc>(s, [&](Orders o) {
        return bwd_d::primitive_desc({algorithm::convolution_direct, activation(s.src, o.src), kernel(s, true), activation(s.dst, o.dst), strides(), dilates(), pads(), pads()}, cpu(), *hint);
      });
    if (pd) d.emplace(*pd);
    ddy.init(dst(), pd ? pd->diff_dst_desc() : planar(s.dst), true);
    dw.init(kernel(s, false), pd ? pd->weights_desc() : kernel(s, false), true);
    ddx.init(src(), pd ? pd->diff_src_desc() : planar(s.src), false);
    note("data gradient", pd ? pd->impl_info_str() : kDirect, ddy.differs || ddx.differs);
  }

  void init_weights(const std::optional<fwd::primitive_desc>& hint) {
    std::optional<bwd_w::primitive_desc> pd;
    if (hint)
      pd = choose<bwd_w::primitive_desc>(s, [&](Orders o) {
        return bwd_w::primitive_desc({algorithm::convolution_direct, activation(s.src, o.src), kernel(s, true), activation(s.dst, o.dst), strides(), dilates(), pads(), pads()}, cpu(), *hint);
      });
    if (pd) w.emplace(*pd);
    wx.init(src(), pd ? pd->src_desc() : planar(s.src), true);
    wdy.init(dst(), pd ? pd->diff_dst_desc() : planar(s.dst), true);
    wdw.init(kernel(s, false), pd ? pd->diff_weights_desc() : kernel(s, false), false);
    note("weight gradient", pd ? pd->impl_info_str() : kDirect, wx.differs || wdy.differs);
  }

  void forward(memory& x, memory& k, const memory* bias, memory& y) {
    if (!f) {
      yp::direct_forward(s, values(x), values(k), bias ? values(*bias) : nullptr, values(y));
      return;
    }
    std::unordered_map<int, memory> args{{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DST, y}};
    if (bias) args.emplace(DNNL_ARG_BIAS, *bias);
    f->execute(queue(), args);
  }
  static float* values(const memory& m) { return static_cast<float*>(m.get_data_handle()); }
};

namespace {
// Runs body and turns exceptions into an error code.
template <class F> int guarded(F body) {
  try {
    body();
    queue().wait();
    return 0;
  } catch (dnnl::error& e) {
    return yp::fail(std::string(e.message) + " (status " + std::to_string((int)e.status) + ")");
  } catch (std::exception& e) {
    return yp::fail(e.what());
  }
}
}  // namespace

const char* yp_error(void) { return yp::last_error.c_str(); }

const char* yp_version(void) {
  static const std::string v = [] {
    const dnnl_version_t* n = dnnl_version();
    return std::to_string(n->major) + "." + std::to_string(n->minor) + "." + std::to_string(n->patch);
  }();
  return v.c_str();
}

int yp_has_avx512(void) {
  const int core = (int)cpu_isa::avx512_core;
  return ((int)get_effective_cpu_isa() & core) == core;
}

constexpr int kMostThreads = 1024;

int yp_start(int threads) {
  if (threads > 0) omp_set_num_threads(threads);
  // OMP_NUM_THREADS may ask for more than the system can start, which would end
  // the process.
  if (omp_get_max_threads() > kMostThreads) omp_set_num_threads(omp_get_num_procs());
#pragma omp parallel
  _mm_setcsr(_mm_getcsr() | 0x8040);  // denormals count as zero: shrinking gammas make many
  return omp_get_max_threads();
}

long yp_live(void) { return yp::live; }

yp_conv* yp_conv_new(const yp_conv_spec* s) {
  yp_conv* c = nullptr;
  if (guarded([&] { c = new yp_conv(*s); })) return nullptr;
  yp::count(1);
  return c;
}

void yp_conv_free(yp_conv* c) {
  if (!c) return;
  delete c;
  yp::count(-1);
}

void yp_conv_info(const yp_conv* c, char* out, size_t n) {
  std::strncpy(out, c->info.c_str(), n - 1);
  out[n - 1] = 0;
}

int yp_conv_freeze(yp_conv* c, const float* w, const float* b) {
  return guarded([&] {
    memory from(kernel(c->s, false), cpu(), const_cast<float*>(w));
    c->kernel_frozen = memory(c->kernel_desc, cpu());
    reorder(from, c->kernel_frozen).execute(queue(), from, c->kernel_frozen);
    c->bias_frozen = memory(memory::desc(dims{c->s.dst.c}, memory::data_type::f32, tag::x), cpu());
    std::memcpy(c->bias_frozen.get_data_handle(), b, 4 * (size_t)c->s.dst.c);
  });
}

int yp_conv_infer(yp_conv* c, const float* x, float* y) {
  return guarded([&] {
    c->forward(c->fx.in(x), c->kernel_frozen, &c->bias_frozen, c->fy.out(y));
    c->fy.flush();
  });
}

int yp_conv_forward(yp_conv* c, const float* x, const float* w, float* y) {
  return guarded([&] {
    c->forward(c->fx.in(x), c->fw.in(w), nullptr, c->fy.out(y));
    c->fy.flush();
  });
}

int yp_conv_backward_data(yp_conv* c, const float* dy, const float* w, float* dx) {
  return guarded([&] {
    memory &a = c->ddy.in(dy), &k = c->dw.in(w), &o = c->ddx.out(dx);
    if (c->d)
      c->d->execute(queue(), {{DNNL_ARG_DIFF_DST, a}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DIFF_SRC, o}});
    else
      yp::direct_backward_data(c->s, yp_conv::values(a), yp_conv::values(k), yp_conv::values(o));
    c->ddx.flush();
  });
}

int yp_conv_backward_weights(yp_conv* c, const float* x, const float* dy, float* dw) {
  return guarded([&] {
    memory &a = c->wx.in(x), &g = c->wdy.in(dy), &o = c->wdw.out(dw);
    if (c->w)
      c->w->execute(queue(), {{DNNL_ARG_SRC, a}, {DNNL_ARG_DIFF_DST, g}, {DNNL_ARG_DIFF_WEIGHTS, o}});
    else
      yp::direct_backward_weights(c->s, yp_conv::values(a), yp_conv::values(g), yp_conv::values(o));
    c->wdw.flush();
  });
}
