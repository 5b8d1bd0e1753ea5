// attention on the GPU against the oracle: bf16 (head dims 32, 64, 128) and fp32, windows, sinks, grouped heads, odd
// lengths, the fused rotation of the gradient, and the same bits for a trial alone and among others.
#include "kernels/backends.hpp"
#include "tests/kernels/cuda_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;
using oracle::AttentionShape;

namespace {

constexpr double theta = 1e4;

struct Case {
  DType dtype = DType::f32;
  AttentionShape shape;
  std::vector<Ints> window;   // [trials][1]
  std::vector<Ints> sink_on;  // [trials][1], or empty: no sinks at all
  std::vector<Ints> rope_on;  // [trials][1], or empty: no rotation at all
  Trials qkv, sink, dout, dsink;
  [[nodiscard]] std::int64_t trials() const { return static_cast<std::int64_t>(window.size()); }
};

std::vector<Ints> one_each(const Ints& values) {
  std::vector<Ints> v;
  for (int x : values) v.push_back({x});
  return v;
}

Case make_case(Random& random, DType dtype, const AttentionShape& s, const Ints& windows, const Ints& sinks,
               const Ints& ropes) {
  Case c{dtype, s, one_each(windows), one_each(sinks), one_each(ropes), {}, {}, {}, {}};
  c.qkv = as_seen(dtype, random.trials(c.trials(), s.batch * s.length * s.width()));
  c.dout = as_seen(dtype, random.trials(c.trials(), s.batch * s.length * s.query * s.dim));
  c.sink = random.trials(c.trials(), s.query);
  c.dsink = random.trials(c.trials(), s.query);  // what is there before backward adds to it
  return c;
}

struct Outputs {
  Trials out, lse, dqkv, dsink;
};

// cos or sin of {1, T, hd/2}.
Trials rope_values(const AttentionShape& s, double (*f)(double)) {
  Vector v;
  for (std::int64_t t = 0; t < s.length; ++t) {
    for (std::int64_t i = 0; i < s.dim / 2; ++i) {
      v.push_back(
          f(static_cast<double>(t) * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(s.dim))));
    }
  }
  return {v};
}

// Trials first .. first + p of the case, forward and backward.
Outputs run(Gpu& gpu, const Case& c, std::size_t first, std::int64_t p, std::int64_t gap) {
  const AttentionShape& s = c.shape;
  const Heads heads{s.query, s.kv, s.dim};
  const bool sinks = !c.sink_on.empty();
  const bool ropes = !c.rope_on.empty();
  const DeviceTensor qkv(c.dtype, {p, s.batch, s.length, s.width()}, c.qkv, first, gap);
  const DeviceTensor dout(c.dtype, {p, s.batch, s.length, s.query * s.dim}, c.dout, first, gap);
  const DeviceTensor window(DType::i32, {p}, c.window, first, 3);
  const DeviceTensor sink(DType::f32, {p, s.query}, c.sink, first, 3);
  const DeviceTensor sink_on(DType::i32, {p}, sinks ? c.sink_on : c.window, first, 3);
  const DeviceTensor rope_on(DType::i32, {p}, ropes ? c.rope_on : c.window, first, 3);
  const DeviceTensor cos(DType::f32, {1, s.length, s.dim / 2}, rope_values(s, std::cos));
  const DeviceTensor sin(DType::f32, {1, s.length, s.dim / 2}, rope_values(s, std::sin));
  const DeviceTensor out(c.dtype, {p, s.batch, s.length, s.query * s.dim}, gap);
  const DeviceTensor lse(DType::f32, {p, s.batch, s.query, s.length}, 5);
  const DeviceTensor dqkv(c.dtype, {p, s.batch, s.length, s.width()}, gap);
  const DeviceTensor dsink(DType::f32, {p, s.query}, c.dsink, first, 3);
  AttentionData data;
  data.window = window;
  if (sinks) {
    data.sink = sink;
    data.sink_on = sink_on;
  }
  Rope rope;
  if (ropes) rope = {cos, sin, rope_on};
  cuda::attention_forward(gpu.ctx, heads, data, qkv, out, lse);
  cuda::attention_backward(gpu.ctx, heads, data, rope, qkv, out, lse, dout, dqkv, sinks ? dsink.tensor() : Tensor());
  for (const DeviceTensor* t : {&out, &lse, &dqkv, &dsink}) t->check_fences();
  return {out.all(), lse.all(), dqkv.all(), dsink.all()};
}

// The bf16 path rounds probabilities, their gradients and the outputs to 8 bits: each of about 2^-9 relative, in sums
// whose errors grow no faster than they do. Seen: 2e-3 to 5e-3.
struct Tolerance {
  double out, lse, dqkv, dsink;
};
Tolerance tolerance_of(DType t) {
  return t == DType::bf16 ? Tolerance{6e-3, 1e-5, 1e-2, 3e-2} : Tolerance{2e-6, 2e-6, 5e-6, 1e-4};
}

// Without and with `baseline`: with, only where there are kernels for more than every GPU has.
bool choose_kernels(Gpu& gpu) {
  gpu.ctx.baseline = GENERATE(false, true);
  return !gpu.ctx.baseline || gpu.runtime.capability() >= 90;
}

void check(Gpu& gpu, const Case& c) {
  const Outputs all = run(gpu, c, 0, c.trials(), 64);
  const Tolerance allowed = tolerance_of(c.dtype);
  for (std::size_t p = 0; p < c.window.size(); ++p) {
    const std::int64_t window = c.window[p][0];
    const bool on = !c.sink_on.empty() && c.sink_on[p][0] != 0;
    const bool rotated = !c.rope_on.empty() && c.rope_on[p][0] != 0;
    CAPTURE(p, window, c.shape.batch, c.shape.length, c.shape.query, c.shape.kv, c.shape.dim, on, rotated);
    const std::optional<Vector> sink = on ? std::optional(c.sink[p]) : std::nullopt;
    const auto expected = oracle::attention(c.qkv[p], c.shape, window, sink);
    auto gradient = oracle::attention_backward(c.dout[p], c.qkv[p], c.shape, window, sink);
    if (rotated) oracle::rope(gradient.dqkv, c.shape, theta, -1);
    CHECK(error(all.out[p], expected.out) < allowed.out);
    CHECK(error(all.lse[p], expected.lse) < allowed.lse);
    CHECK(error(all.dqkv[p], gradient.dqkv) < allowed.dqkv);
    for (std::size_t h = 0; h < gradient.dsink.size(); ++h) gradient.dsink[h] += c.dsink[p][h];
    if (on) {
      CHECK(error(all.dsink[p], gradient.dsink) < allowed.dsink);
    } else {
      CHECK(same_bits(all.dsink[p], c.dsink[p]));
    }
    if (p % 2 == 1) {
      const Outputs alone = run(gpu, c, p, 1, 128);
      CHECK(same_bits(all.out[p], alone.out[0]));
      CHECK(same_bits(all.lse[p], alone.lse[0]));
      CHECK(same_bits(all.dqkv[p], alone.dqkv[0]));
      CHECK(same_bits(all.dsink[p], alone.dsink[0]));
    }
  }
}

}  // namespace

TEST_CASE("attention on the GPU agrees with the oracle at odd lengths and windows", "[attention][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  if (!choose_kernels(gpu)) return;
  const std::uint64_t seed = 21;
  CAPTURE(seed);
  Random random(seed);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  for (int dim : {32, 64, 128}) {
    for (int length : {1, 7, 64, 65}) {
      const Ints windows = {1, 2, std::max(1, length - 1), length, length + 1};
      check(gpu, make_case(random, dtype, {2, length, 2, 2, dim}, windows, {}, {1, 0, 1, 1, 0}));
      check(gpu, make_case(random, dtype, {1, length, 4, 2, dim}, {3}, {1}, {}));
      check(gpu, make_case(random, dtype, {1, length, 3, 1, dim}, windows, {1, 0, 1, 1, 0}, {0, 1, 0, 1, 1}));
    }
  }
}

TEST_CASE("attention on the GPU agrees with the oracle over many blocks of keys", "[attention][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  if (!choose_kernels(gpu)) return;
  const std::uint64_t seed = 22;
  CAPTURE(seed);
  Random random(seed);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  check(gpu, make_case(random, dtype, {1, 513, 2, 1, 32}, {512, 128, 9}, {1, 0, 1}, {1, 1, 0}));
  check(gpu, make_case(random, dtype, {1, 513, 2, 1, 64}, {1, 200, 514}, {1, 0, 1}, {1, 1, 0}));
  check(gpu, make_case(random, dtype, {1, 320, 1, 1, 128}, {64, 320, 65}, {0, 1, 1}, {1, 0, 1}));
}

TEST_CASE("attention on the GPU takes any even head dim in fp32 and says what bf16 takes", "[attention][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(23);
  for (int dim : {2, 6, 40, 80, 130, 256}) {
    check(gpu, make_case(random, DType::f32, {1, 41, 2, 1, dim}, {5, 2147483647}, {1, 0}, {1, 0}));
  }
  const Case odd = make_case(random, DType::bf16, {1, 8, 1, 1, 48}, {5}, {}, {});
  CHECK_THROWS_AS(run(gpu, odd, 0, 1, 64), std::invalid_argument);
}

TEST_CASE("attention on the GPU stays exact where scores are far apart", "[attention][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  if (!choose_kernels(gpu)) return;
  Random random(24);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Case c = make_case(random, dtype, {1, 100, 1, 1, 32}, {100}, {}, {});
    for (double& x : c.qkv[0]) x *= 32;
    const auto expected = oracle::attention(c.qkv[0], c.shape, 100, std::nullopt);
    CHECK(error(run(gpu, c, 0, 1, 64).out[0], expected.out) < (dtype == DType::bf16 ? 1e-2 : 1e-3));
  }
}
