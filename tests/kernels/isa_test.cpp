// The two sets of hot loops against each other. Nothing orders sums by the width of the registers, so a machine with
// AVX-512 and one without give the same bits, as far as the compiler fuses multiplications and additions alike in both:
// GCC does.
#include <array>

#include "kernels/add_rmsnorm.hpp"
#include "kernels/attention.hpp"
#include "kernels/gated_norm.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "kernels/short_conv.hpp"
#include "kernels/swiglu.hpp"
#include "tests/kernels/support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;

namespace {

// A layer's worth of operators on one trial, everything that comes out.
template <class T>
std::vector<std::vector<T>> layer(bool baseline) {
  Random random(41);
  Context ctx = context(baseline);
  const std::int64_t t = 75, d = 40, f = 56, v = 77;
  const Memory<T> x({1, 1, t, d}, 0, random.trials(1, t * d), 0), weight({1, d}, 0, random.trials(1, d), 0);
  const Memory<T> h({1, 1, t, d}, 0), inv({1, 1, t}, 0), qkv({1, 1, t, 3 * d}, 0), out({1, 1, t, d}, 0);
  const Memory<T> w({1, 3 * d, d}, 0, random.trials(1, 3 * d * d), 0), lse({1, 1, 2, t}, 0), dqkv({1, 1, t, 3 * d}, 0);
  const Memory<T> gate({1, 2 * f, d}, 0, random.trials(1, 2 * f * d), 0), gu({1, 1, t, 2 * f}, 0), act({1, 1, t, f}, 0);
  const Memory<T> dact({1, 1, t, f}, 0, random.trials(1, t * f), 0), dgu({1, 1, t, 2 * f}, 0), dh({1, 1, t, d}, 0);
  const Memory<T> dgate({1, 2 * f, d}, 0, random.trials(1, 2 * f * d), 0), dweight({1, d}, 0, random.trials(1, d), 0);
  const Memory<T> head({1, v, d}, 0, random.trials(1, v * d), 0), loss({1, 1, t}, 0), dx({1, 1, t, d}, 0);
  const Memory<T> dhead({1, v, d}, 0, random.trials(1, v * d), 0);
  const Memory<std::int32_t> targets({1, 1, t}, 0, std::vector<Ints>{random.integers(t, 0, 76)}, 0);
  const Memory<std::int32_t> window({1}, 0, std::vector<Ints>{{30}}, 0);
  AttentionData data;
  data.window = window;
  const Heads heads{2, 2, d / 2};
  add_rmsnorm_forward(ctx, x, Tensor(), weight, 1e-6, h, inv);
  linear_forward(ctx, h, w, qkv);
  attention_forward(ctx, heads, data, qkv, out, lse);
  attention_backward(ctx, heads, data, {}, qkv, out, lse, x, dqkv, Tensor());
  linear_forward(ctx, out, gate, gu);
  swiglu_forward(ctx, gu, act);
  swiglu_backward(ctx, dact, gu, dgu);
  linear_backward_input(ctx, dgu, gate, dh, false);
  linear_backward_weight(ctx, dgu, out, dgate);
  linear_cross_entropy_train(ctx, h, head, targets, 0.5, loss, dx, dhead);
  add_rmsnorm_backward(ctx, dh, x, weight, inv, dx, dweight);
  std::vector<std::vector<T>> all;
  for (const auto* m :
       {&h, &inv, &qkv, &out, &lse, &dqkv, &gu, &act, &dgu, &dh, &dgate, &loss, &dx, &dhead, &dweight}) {
    all.push_back(m->values(0));
  }
  return all;
}

// The loops around a recurrence: convolution with a normalised segment, and the three gated norms.
template <class T>
std::vector<std::vector<T>> recurrent_rows(bool baseline) {
  Random random(42);
  Context ctx = context(baseline);
  const std::int64_t t = 33, n = 43, w = 4 * n;
  const ShortConv conv{{{{0, n, 1, n, true}, {n, n, 1, n, false}, {}}}};
  const Memory<T> proj({1, 1, t, w}, 0, random.trials(1, t * w), 0),
      dout({1, 1, t, 2 * n}, 0, random.trials(1, t * 2 * n), 0);
  const Memory<T> weight({1, 2 * n, 4}, 0, random.trials(1, 8 * n), 0), bias({1, 2 * n}, 0, random.trials(1, 2 * n), 0);
  const Memory<T> out({1, 1, t, 2 * n}, 0), dproj({1, 1, t, w}, 0, random.trials(1, t * w), 0);
  const Memory<T> dweight({1, 2 * n, 4}, 0, random.trials(1, 8 * n), 0),
      dbias({1, 2 * n}, 0, random.trials(1, 2 * n), 0);
  short_conv_forward(ctx, conv, proj, weight, bias, out);
  short_conv_backward(ctx, conv, proj, weight, bias, dout, dproj, dweight, dbias);
  std::vector<std::vector<T>> all{out.values(0), dproj.values(0), dweight.values(0), dbias.values(0)};
  for (const auto form : {GatedNormForm::norm_silu, GatedNormForm::silu_norm, GatedNormForm::norm_sigmoid}) {
    const GatedNorm norm{form, 2, n, 2 * n, n, 1e-6};
    const Memory<T> scale({1, n}, 0, random.trials(1, n), 0), dscale({1, n}, 0, random.trials(1, n), 0);
    const Memory<T> y({1, 1, t, 2 * n}, 0), inv({1, 1, t, 2}, 0), dx({1, 1, t, 2 * n}, 0);
    gated_norm_forward(ctx, norm, out, proj, scale, y, inv);
    gated_norm_backward(ctx, norm, out, proj, scale, inv, dout, dx, dproj, dscale);
    for (const auto* m : {&y, &inv, &dx, &dproj, &dscale}) all.push_back(m->values(0));
  }
  return all;
}

}  // namespace

TEMPLATE_TEST_CASE("the hot loops for AVX-512 and those of the build give the same bits", "[isa]", float, double) {
  const bool recurrent = GENERATE(false, true);
  const auto best = recurrent ? recurrent_rows<TestType>(false) : layer<TestType>(false);
  const auto baseline = recurrent ? recurrent_rows<TestType>(true) : layer<TestType>(true);
  for (std::size_t i = 0; i < best.size(); ++i) {
    CAPTURE(recurrent, i);
    CHECK(error(best[i], Vector(baseline[i].begin(), baseline[i].end())) < tolerance<TestType>);
#if defined(__GNUC__) && !defined(__clang__)
    CHECK(same_bits(best[i], baseline[i]));
#endif
  }
}
