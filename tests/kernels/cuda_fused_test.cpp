// The fused GPU kernels against the oracle in double precision, with the roundings to bf16 that their header states.
#include "kernels/cuda/fused.hpp"

#include <algorithm>
#include <cstdlib>

#include "tests/kernels/cuda_support.hpp"

namespace hylas::test {
namespace {

using kernels::Heads;
using kernels::cuda::FusedRope;

constexpr double eps = 1e-5;
constexpr double bf16_tolerance = 5e-3;

Vector sum(Vector a, const Vector& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

struct Shape {
  std::int64_t trials, rows, d, f;
};

// One operator's inputs for all trials, as the device sees them, and where its outputs go.
struct Inputs {
  Shape s;
  Trials x, dy, norm, up, down;  // up: gate_up [2f, d] or w [f, d]

  Inputs(const Shape& shape, std::uint64_t seed, bool ffn) : s(shape) {
    Random random(seed);
    const auto draw = [&](std::int64_t n, double sd) { return as_seen(DType::bf16, random.trials(s.trials, n, sd)); };
    const double sd = 1 / std::sqrt(static_cast<double>(s.d));
    x = draw(s.rows * s.d, 2);
    dy = draw(s.rows * (ffn ? s.d : s.f), 1);
    norm = random.trials(s.trials, s.d, 0.3);
    for (Vector& v : norm) {
      for (double& w : v) w = static_cast<double>(static_cast<float>(1 + w));
    }
    up = draw((ffn ? 2 : 1) * s.f * s.d, sd);
    down = draw(s.f * s.d, 1 / std::sqrt(static_cast<double>(s.f)));
  }
};

void check_error(const Trials& got, const Trials& expected, double tolerance = bf16_tolerance) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t p = 0; p < got.size(); ++p) CHECK(error(got[p], expected[p]) < tolerance);
}

bool same(const Trials& a, const Trials& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](auto& u, auto& v) { return same_bits(u, v); });
}

// ---- the feed-forward branch

struct FfnResult {
  Trials y, dx, h, act, dgate_up, dnorm;
};

// Trials first .. first + count - 1, of each the first `rows` rows.
FfnResult run_ffn(Gpu& gpu, const Inputs& in, std::int64_t first, std::int64_t count, std::int64_t rows) {
  const auto [trials, all_rows, d, f] = in.s;
  const auto from = at(first);
  const auto cut = [&](Trials t) {
    for (Vector& v : t) v.resize(at(rows * d));
    return t;
  };
  DeviceTensor x(DType::bf16, {count, rows, d}, cut(in.x), from);
  DeviceTensor dy(DType::bf16, {count, rows, d}, cut(in.dy), from);
  DeviceTensor norm(DType::f32, {count, d}, in.norm, from);
  DeviceTensor gate_up(DType::bf16, {count, 2 * f, d}, in.up, from);
  DeviceTensor down(DType::bf16, {count, d, f}, in.down, from);
  DeviceTensor y(DType::bf16, {count, rows, d});
  DeviceTensor dx(DType::bf16, {count, rows, d});
  DeviceTensor h(DType::bf16, {count, rows, d});
  DeviceTensor act(DType::bf16, {count, rows, f});
  DeviceTensor dgate_up(DType::bf16, {count, rows, 2 * f});
  DeviceTensor dnorm(DType::f32, {count, d}, in.norm, from);  // gradients are added
  kernels::cuda::fused_ffn_forward(gpu.ctx, x, norm, eps, gate_up, down, y);
  kernels::cuda::fused_ffn_backward(gpu.ctx, dy, x, norm, eps, gate_up, down, dx, h, act, dgate_up, dnorm);
  FfnResult r{y.all(), dx.all(), h.all(), act.all(), dgate_up.all(), dnorm.all()};
  kernels::cuda::fused_ffn_forward(gpu.ctx, x, norm, eps, gate_up, down, x);
  CHECK(same(r.y, x.all()));  // in place
  for (const DeviceTensor* t : {&x, &y, &dx, &h, &act, &dgate_up, &dnorm}) t->check_fences();
  return r;
}

FfnResult expected_ffn(const Inputs& in) {
  const auto [trials, rows, d, f] = in.s;
  FfnResult r;
  for (std::size_t p = 0; p < at(trials); ++p) {
    const Vector h = rounded_to_bf16(oracle::rmsnorm(in.x[p], in.norm[p], eps).h);
    const Vector gate_up = oracle::linear(h, in.up[p], rows, d, 2 * f);
    const Vector act = rounded_to_bf16(oracle::swiglu(gate_up, f));
    r.y.push_back(sum(in.x[p], oracle::linear(act, in.down[p], rows, f, d)));
    const Vector dact = oracle::linear_backward_input(in.dy[p], in.down[p], rows, f, d);
    r.dgate_up.push_back(rounded_to_bf16(oracle::swiglu_backward(dact, gate_up, f)));
    const Vector dh = oracle::linear_backward_input(r.dgate_up.back(), in.up[p], rows, d, 2 * f);
    const oracle::NormGradient g = oracle::rmsnorm_backward(dh, in.x[p], in.norm[p], eps);
    r.dx.push_back(sum(in.dy[p], g.dx));
    r.dnorm.push_back(sum(g.dweight, in.norm[p]));
    r.h.push_back(h);
    r.act.push_back(act);
  }
  return r;
}

void test_ffn(Gpu& gpu, const Shape& s) {
  CAPTURE(s.trials, s.rows, s.d, s.f);
  const Inputs in(s, 1, true);
  const FfnResult got = run_ffn(gpu, in, 0, s.trials, s.rows);
  const FfnResult expected = expected_ffn(in);
  check_error(got.y, expected.y);
  check_error(got.h, expected.h);
  check_error(got.act, expected.act);
  check_error(got.dgate_up, expected.dgate_up);
  check_error(got.dx, expected.dx);
  check_error(got.dnorm, expected.dnorm);
  for (std::int64_t p = 0; p < s.trials && s.trials > 1; ++p) {
    const FfnResult alone = run_ffn(gpu, in, p, 1, s.rows);
    CHECK(same_bits(alone.y[0], got.y[at(p)]));
    CHECK(same_bits(alone.dx[0], got.dx[at(p)]));
    CHECK(same_bits(alone.act[0], got.act[at(p)]));
    CHECK(same_bits(alone.dgate_up[0], got.dgate_up[at(p)]));
    CHECK(same_bits(alone.dnorm[0], got.dnorm[at(p)]));
  }
  if (s.rows > 128) {
    FfnResult part = run_ffn(gpu, in, 0, 1, 128);
    FfnResult whole = got;
    whole.y[0].resize(part.y[0].size());
    whole.dx[0].resize(part.dx[0].size());
    CHECK(same_bits(part.y[0], whole.y[0]));
    CHECK(same_bits(part.dx[0], whole.dx[0]));
  }
}

// ---- norm and projection

struct LinearResult {
  Trials y, dx, h, dnorm;
};

LinearResult run_linear(Gpu& gpu, const Inputs& in, std::int64_t first, std::int64_t count, const Heads* heads,
                        std::int64_t length, const std::vector<Ints>& on) {
  const auto [trials, rows, d, columns] = in.s;
  const auto from = at(first);
  DeviceTensor x(DType::bf16, {count, rows, d}, in.x, from);
  DeviceTensor dy(DType::bf16, {count, rows, columns}, in.dy, from);
  DeviceTensor norm(DType::f32, {count, d}, in.norm, from);
  DeviceTensor w(DType::bf16, {count, columns, d}, in.up, from);
  DeviceTensor y(DType::bf16, {count, rows, columns});
  DeviceTensor residual(DType::bf16, {count, rows, d}, in.x, from);
  DeviceTensor dx(DType::bf16, {count, rows, d});
  DeviceTensor h(DType::bf16, {count, rows, d});
  DeviceTensor dnorm(DType::f32, {count, d}, in.norm, from);
  if (heads == nullptr) {
    kernels::cuda::fused_norm_linear_forward(gpu.ctx, x, norm, eps, w, y);
  } else {
    const std::int64_t half = heads->dim / 2;
    std::vector<float> cos(at(length * half)), sin(at(length * half));
    kernels::rope_table(1e4, Tensor::of(cos.data(), {1, length, half}), Tensor::of(sin.data(), {1, length, half}));
    DeviceTensor cos_table(DType::f32, {1, length, half}, std::vector<std::vector<float>>{cos});
    DeviceTensor sin_table(DType::f32, {1, length, half}, std::vector<std::vector<float>>{sin});
    DeviceTensor rope_on(DType::i32, {count}, on, from, 0);
    const FusedRope rope{*heads, cos_table, sin_table, rope_on};
    kernels::cuda::fused_norm_linear_forward(gpu.ctx, x, norm, eps, w, y, &rope);
    cuda_ok(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  kernels::cuda::fused_norm_linear_backward(gpu.ctx, dy, x, norm, eps, w, residual, dx, h, dnorm);
  LinearResult r{y.all(), dx.all(), h.all(), dnorm.all()};
  kernels::cuda::fused_norm_linear_backward(gpu.ctx, dy, x, norm, eps, w, residual, residual, h, dnorm);
  CHECK(same(residual.all(), r.dx));  // in place
  for (const DeviceTensor* t : {&y, &dx, &residual, &h, &dnorm}) t->check_fences();
  return r;
}

void test_linear(Gpu& gpu, const Shape& s, const Heads* heads = nullptr, std::int64_t length = 1) {
  CAPTURE(s.trials, s.rows, s.d, s.f, heads == nullptr ? 0 : heads->dim);
  const Inputs in(s, 2, false);
  std::vector<Ints> on;
  for (std::int64_t p = 0; p < s.trials; ++p) on.push_back({p == 1 ? 0 : 1});
  const LinearResult got = run_linear(gpu, in, 0, s.trials, heads, length, on);
  LinearResult expected;
  for (std::size_t p = 0; p < at(s.trials); ++p) {
    expected.h.push_back(rounded_to_bf16(oracle::rmsnorm(in.x[p], in.norm[p], eps).h));
    expected.y.push_back(oracle::linear(expected.h.back(), in.up[p], s.rows, s.d, s.f));
    if (heads != nullptr && on[p][0] != 0) {
      const oracle::AttentionShape shape{s.rows / length, length, heads->query, heads->kv, heads->dim};
      oracle::rope(expected.y.back(), shape, 1e4, 1);
    }
    const Vector dh = oracle::linear_backward_input(in.dy[p], in.up[p], s.rows, s.d, s.f);
    const oracle::NormGradient g = oracle::rmsnorm_backward(dh, in.x[p], in.norm[p], eps);
    expected.dx.push_back(sum(in.x[p], g.dx));
    expected.dnorm.push_back(sum(g.dweight, in.norm[p]));
  }
  check_error(got.y, expected.y);
  check_error(got.h, expected.h);
  check_error(got.dx, expected.dx);
  check_error(got.dnorm, expected.dnorm);
  for (std::int64_t p = 0; p < s.trials && s.trials > 1; ++p) {
    const LinearResult alone = run_linear(gpu, in, p, 1, heads, length, on);
    CHECK(same_bits(alone.y[0], got.y[at(p)]));
    CHECK(same_bits(alone.dx[0], got.dx[at(p)]));
    CHECK(same_bits(alone.dnorm[0], got.dnorm[at(p)]));
  }
}

}  // namespace

TEST_CASE("cuda fused: feed-forward branch against the oracle", "[gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  for (const Shape& s : {Shape{1, 1, 64, 64}, Shape{3, 100, 64, 192}, Shape{1, 128, 64, 384}, Shape{1, 128, 128, 64},
                         Shape{3, 300, 128, 384}, Shape{1, 1, 256, 64}, Shape{3, 100, 256, 192},
                         Shape{1, 300, 256, 768}, Shape{1, 300, 64, 192}}) {
    test_ffn(gpu, s);
  }
}

TEST_CASE("cuda fused: norm and projection against the oracle", "[gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  for (const Shape& s : {Shape{1, 1, 64, 64}, Shape{3, 100, 64, 192}, Shape{1, 128, 128, 64}, Shape{3, 300, 128, 384},
                         Shape{3, 100, 256, 192}, Shape{1, 300, 256, 768}}) {
    test_linear(gpu, s);
  }
}

TEST_CASE("cuda fused: projection with rotated heads against the oracle", "[gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  struct Case {
    std::int64_t d;
    Heads heads;
  };
  for (const Case& c : {Case{64, {2, 1, 32}}, Case{64, {1, 1, 64}}, Case{128, {3, 1, 32}}, Case{128, {2, 2, 64}},
                        Case{128, {1, 1, 128}}, Case{256, {4, 3, 32}}, Case{256, {4, 2, 64}}, Case{256, {2, 1, 128}}}) {
    const std::int64_t columns = (c.heads.query + 2 * c.heads.kv) * c.heads.dim;
    if (!kernels::cuda::fused_norm_linear_supported(c.d, columns, c.heads)) {
      CHECK(columns % 64 != 0);
      continue;
    }
    test_linear(gpu, {3, 3 * 37, c.d, columns}, &c.heads, 37);
    test_linear(gpu, {1, 2 * 100, c.d, columns}, &c.heads, 100);
  }
}

TEST_CASE("cuda fused: what the kernels do not serve is refused", "[gpu]") {
  using namespace kernels::cuda;
  CHECK(fused_ffn_supported(128, 384));
  CHECK_FALSE(fused_ffn_supported(96, 384));
  CHECK_FALSE(fused_ffn_supported(128, 96));
  CHECK_FALSE(fused_norm_linear_supported(512, 1536));
  CHECK_FALSE(fused_norm_linear_supported(128, 384, Heads{4, 4, 16}));
  CHECK(fused_norm_linear_supported(128, 384, Heads{2, 2, 64}));
  if (!gpu_here()) return;
  Gpu gpu;
  DeviceTensor x(DType::bf16, {2, 5, 96}), norm(DType::f32, {2, 96}), w(DType::bf16, {2, 64, 96}),
      y(DType::bf16, {2, 5, 64});
  CHECK_THROWS_AS(fused_norm_linear_forward(gpu.ctx, x, norm, eps, w, y), std::invalid_argument);
}

}  // namespace hylas::test
