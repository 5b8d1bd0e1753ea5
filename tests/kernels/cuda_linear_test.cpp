// The products on the GPU through the public operators: linear, norm_linear, feed_forward, linear_cross_entropy. fp32
// against the CPU's operators, bf16 against the oracle on rounded inputs; odd sizes, padded trials, a trial's bits
// together and alone, nothing written outside, a trial's NaN kept to itself.
#include <algorithm>
#include <cmath>

#include "kernels/feed_forward.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "kernels/norm_linear.hpp"
#include "tests/kernels/cuda_support.hpp"

namespace hylas::test {
namespace {

constexpr double kEps = 1e-6;
constexpr double kF32 = 1e-5;         // between two devices that both sum in fp32
constexpr double kOnce = 3e-3;        // results that are rounded to bf16 once: 2^-8 / sqrt(3) as a norm, more for a few
constexpr double kThrough = 1e-2;     // with intermediate results in bf16
constexpr double kFewRounded = 4e-3;  // kOnce where a handful of numbers make the norm

using Results = std::vector<Trials>;

// Where an operator runs: in() has values, out() is poisoned; the dtype counts on a GPU only.
struct OnCpu {
  Context ctx;

  Memory<float> in(DType /*type*/, std::initializer_list<std::int64_t> dims, const Trials& v, std::size_t first) {
    return {dims, 16, v, first};
  }
  Memory<float> out(DType /*type*/, std::initializer_list<std::int64_t> dims) { return {dims, 16}; }
  Memory<std::int32_t> in(std::initializer_list<std::int64_t> dims, const std::vector<Ints>& v, std::size_t first) {
    return {dims, 16, v, first};
  }
  Memory<std::int32_t> out(std::initializer_list<std::int64_t> dims) { return {dims, 16}; }
};

struct OnGpu {
  Gpu& gpu;
  Context& ctx = gpu.ctx;

  DeviceTensor in(DType type, std::initializer_list<std::int64_t> dims, const Trials& v, std::size_t first) {
    return {type, dims, v, first};
  }
  DeviceTensor out(DType type, std::initializer_list<std::int64_t> dims) { return {type, dims}; }
  DeviceTensor in(std::initializer_list<std::int64_t> dims, const std::vector<Ints>& v, std::size_t first) {
    return {DType::i32, dims, v, first};
  }
  DeviceTensor out(std::initializer_list<std::int64_t> dims) { return {DType::i32, dims}; }
};

template <class Out>
Trials read(const Out& out) {
  out.check_fences();
  Trials trials;
  for (const auto& v : out.all()) trials.emplace_back(v.begin(), v.end());
  return trials;
}

void spoil(Trials& values) {
  values.at(1).assign(values[1].size(), std::numeric_limits<double>::quiet_NaN());
}

Vector sum(Vector a, const Vector& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// The trials of `got` are those that run(side, first, count) gives for one alone; the first and the last are looked at.
template <class Run>
void check_alone(OnGpu& side, const Results& got, std::int64_t trials, const Run& run) {
  if (trials == 1) return;
  for (const std::int64_t p : {std::int64_t{0}, trials - 1}) {
    const Results alone = run(side, at(p), 1);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(p, i);
      CHECK(same_bits(got[i][at(p)], alone[i][0]));
    }
  }
}

// After trial 1 was spoilt: the others as they were.
template <class Run>
void check_neighbours(OnGpu& side, const Results& got, std::int64_t trials, const Run& run) {
  const Results spoilt = run(side, 0, trials);
  for (std::size_t i = 0; i < got.size(); ++i) {
    for (std::int64_t p = 0; p < trials; p += 2) {
      CAPTURE(p, i);
      CHECK(same_bits(got[i][at(p)], spoilt[i][at(p)]));
    }
  }
}

void check_errors(const Results& got, const Results& want, const std::vector<double>& limits) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    REQUIRE(got[i].size() == want[i].size());
    for (std::size_t p = 0; p < got[i].size(); ++p) {
      CAPTURE(i, p);
      CHECK(error(got[i][p], want[i][p]) < limits[i]);
    }
  }
}

struct Size {
  std::int64_t trials, batch, length, in, out;
  [[nodiscard]] std::int64_t rows() const { return batch * length; }
};

// ---- linear

void test_linear(Gpu& gpu, DType t, const Size& s) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out);
  Random random(11);
  const std::int64_t rows = s.rows();
  const auto seen = [&](std::int64_t n, double sd) { return as_seen(t, random.trials(s.trials, n, sd)); };
  Trials xs = seen(rows * s.in, 1), dys = seen(rows * s.out, 1);
  const Trials ws = seen(s.out * s.in, 1 / std::sqrt(static_cast<double>(s.in)));
  const Trials residuals = seen(rows * s.out, 1), dxs = seen(rows * s.in, 1),
               dws = random.trials(s.trials, s.out * s.in);
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto x = side.in(t, {p, s.batch, s.length, s.in}, xs, first), w = side.in(t, {p, s.out, s.in}, ws, first);
    const auto dy = side.in(t, {p, s.batch, s.length, s.out}, dys, first);
    const auto y = side.out(t, {p, s.batch, s.length, s.out}), added = side.out(t, {p, s.batch, s.length, s.out});
    const auto residual = side.in(t, {p, s.batch, s.length, s.out}, residuals, first);
    const auto dx = side.out(t, {p, s.batch, s.length, s.in});
    const auto dx_sum = side.in(t, {p, s.batch, s.length, s.in}, dxs, first);
    const auto dw = side.in(DType::f32, {p, s.out, s.in}, dws, first);
    kernels::linear_forward(side.ctx, x, w, y);
    kernels::linear_forward_add(side.ctx, x, w, residual, added);
    kernels::linear_forward_add(side.ctx, x, w, residual, residual);  // in place
    kernels::linear_backward_input(side.ctx, dy, w, dx, false);
    kernels::linear_backward_input(side.ctx, dy, w, dx_sum, true);
    kernels::linear_backward_weight(side.ctx, dy, x, dw);
    return Results{read(y), read(added), read(residual), read(dx), read(dx_sum), read(dw)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  if (t == DType::f32) {
    OnCpu cpu;
    check_errors(got, run(cpu, 0, s.trials), std::vector<double>(6, kF32));
  } else {
    Results want(6);
    for (std::size_t p = 0; p < at(s.trials); ++p) {
      want[0].push_back(oracle::linear(xs[p], ws[p], rows, s.in, s.out));
      want[1].push_back(sum(want[0].back(), residuals[p]));
      want[2].push_back(want[1].back());
      want[3].push_back(oracle::linear_backward_input(dys[p], ws[p], rows, s.in, s.out));
      want[4].push_back(sum(want[3].back(), dxs[p]));
      want[5].push_back(sum(oracle::linear_backward_weight(dys[p], xs[p], rows, s.in, s.out), dws[p]));
    }
    const double limit = rows * std::min(s.in, s.out) < 1000 ? kFewRounded : kOnce;  // dw: tensor cores cut sums off
    check_errors(got, want, {limit, limit, limit, limit, limit, rows > 2048 ? 5 * kF32 : kF32});
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(xs);
  spoil(dys);
  check_neighbours(side, got, s.trials, run);
}

// ---- norm_linear

void test_norm_linear(Gpu& gpu, DType t, const Size& s) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out);
  Random random(12);
  const std::int64_t rows = s.rows();
  const auto seen = [&](std::int64_t n, double sd) { return as_seen(t, random.trials(s.trials, n, sd)); };
  Trials xs = seen(rows * s.in, 2);
  const Trials dys = seen(rows * s.out, 1), ws = seen(s.out * s.in, 1 / std::sqrt(static_cast<double>(s.in)));
  const Trials norms = random.trials(s.trials, s.in), dxs = seen(rows * s.in, 1),
               dnorms = random.trials(s.trials, s.in);
  const Trials dws = random.trials(s.trials, s.out * s.in);
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto x = side.in(t, {p, s.batch, s.length, s.in}, xs, first), w = side.in(t, {p, s.out, s.in}, ws, first);
    const auto dy = side.in(t, {p, s.batch, s.length, s.out}, dys, first);
    const auto norm = side.in(DType::f32, {p, s.in}, norms, first),
               dnorm = side.in(DType::f32, {p, s.in}, dnorms, first);
    const auto y = side.out(t, {p, s.batch, s.length, s.out});
    const auto dx = side.in(t, {p, s.batch, s.length, s.in}, dxs, first);
    const auto dw = side.in(DType::f32, {p, s.out, s.in}, dws, first);
    const kernels::ArenaScope scope(side.ctx.arena);
    kernels::NormSaved saved;
    kernels::norm_linear_forward(side.ctx, x, norm, kEps, w, y, saved);
    kernels::norm_linear_backward(side.ctx, dy, x, norm, kEps, w, saved, dx, dnorm, dw);
    return Results{read(y), read(dx), read(dnorm), read(dw)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  if (t == DType::f32) {
    OnCpu cpu;
    check_errors(got, run(cpu, 0, s.trials), std::vector<double>(4, kF32));
  } else {
    Results want(4);
    for (std::size_t p = 0; p < at(s.trials); ++p) {
      const Vector h = oracle::rmsnorm(xs[p], norms[p], kEps).h;
      want[0].push_back(oracle::linear(h, ws[p], rows, s.in, s.out));
      const Vector dh = oracle::linear_backward_input(dys[p], ws[p], rows, s.in, s.out);
      const oracle::NormGradient g = oracle::rmsnorm_backward(dh, xs[p], norms[p], kEps);
      want[1].push_back(sum(g.dx, dxs[p]));
      want[2].push_back(sum(g.dweight, dnorms[p]));
      want[3].push_back(sum(oracle::linear_backward_weight(dys[p], h, rows, s.in, s.out), dws[p]));
    }
    check_errors(got, want, std::vector<double>(4, kThrough));
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(xs);
  check_neighbours(side, got, s.trials, run);
}

// ---- feed_forward: s.out is the width of the hidden layer

void test_feed_forward(Gpu& gpu, DType t, const Size& s) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out);
  Random random(13);
  const std::int64_t rows = s.rows(), d = s.in, f = s.out;
  const auto seen = [&](std::int64_t n, double sd) { return as_seen(t, random.trials(s.trials, n, sd)); };
  Trials xs = seen(rows * d, 2);
  const Trials dys = seen(rows * d, 1), norms = random.trials(s.trials, d);
  const Trials ups = seen(2 * f * d, 1 / std::sqrt(static_cast<double>(d)));
  const Trials downs = seen(d * f, 1 / std::sqrt(static_cast<double>(f)));
  const Trials dnorms = random.trials(s.trials, d), dups = random.trials(s.trials, 2 * f * d),
               ddowns = random.trials(s.trials, d * f);
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto x = side.in(t, {p, s.batch, s.length, d}, xs, first),
               dy = side.in(t, {p, s.batch, s.length, d}, dys, first);
    const auto norm = side.in(DType::f32, {p, d}, norms, first), dnorm = side.in(DType::f32, {p, d}, dnorms, first);
    const auto up = side.in(t, {p, 2 * f, d}, ups, first), dup = side.in(DType::f32, {p, 2 * f, d}, dups, first);
    const auto down = side.in(t, {p, d, f}, downs, first), ddown = side.in(DType::f32, {p, d, f}, ddowns, first);
    const auto y = side.out(t, {p, s.batch, s.length, d}), dx = side.out(t, {p, s.batch, s.length, d});
    const kernels::ArenaScope scope(side.ctx.arena);
    const kernels::FeedForwardWeights weights{norm, up, down};
    const auto saved = kernels::feed_forward_forward(side.ctx, x, weights, kEps, y);
    kernels::feed_forward_backward(side.ctx, x, weights, kEps, saved, dy, dx, {dnorm, dup, ddown});
    (void)kernels::feed_forward_forward(side.ctx, x, weights, kEps, x);  // in place
    return Results{read(y), read(x), read(dx), read(dnorm), read(dup), read(ddown)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  if (t == DType::f32) {
    OnCpu cpu;
    check_errors(got, run(cpu, 0, s.trials), std::vector<double>(6, kF32));
  } else {
    Results want(6);
    for (std::size_t p = 0; p < at(s.trials); ++p) {
      const Vector h = oracle::rmsnorm(xs[p], norms[p], kEps).h;
      const Vector gate_up = oracle::linear(h, ups[p], rows, d, 2 * f), act = oracle::swiglu(gate_up, f);
      want[0].push_back(sum(oracle::linear(act, downs[p], rows, f, d), xs[p]));
      want[1].push_back(want[0].back());
      const Vector dact = oracle::linear_backward_input(dys[p], downs[p], rows, f, d);
      const Vector dgate_up = oracle::swiglu_backward(dact, gate_up, f);
      const Vector dh = oracle::linear_backward_input(dgate_up, ups[p], rows, d, 2 * f);
      const oracle::NormGradient g = oracle::rmsnorm_backward(dh, xs[p], norms[p], kEps);
      want[2].push_back(sum(g.dx, dys[p]));
      want[3].push_back(sum(g.dweight, dnorms[p]));
      want[4].push_back(sum(oracle::linear_backward_weight(dgate_up, h, rows, d, 2 * f), dups[p]));
      want[5].push_back(sum(oracle::linear_backward_weight(dys[p], act, rows, f, d), ddowns[p]));
    }
    check_errors(got, want, std::vector<double>(6, kThrough));
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(xs);
  check_neighbours(side, got, s.trials, run);
}

// ---- linear_cross_entropy: s.out is the vocabulary

// Leaves n targets of each sequence at random positions; n < 0: 0 to -1 - n of them.
void keep_targets(Random& random, Ints& target, std::int64_t length, std::int64_t n) {
  for (std::int64_t first = 0; first < std::ssize(target); first += length) {
    std::vector<std::pair<std::int32_t, std::int64_t>> order;
    for (std::int64_t t = 0; t < length; ++t) order.emplace_back(random.integers(1, 0, 1 << 30)[0], first + t);
    std::sort(order.begin(), order.end());
    const std::int64_t kept = n >= 0 ? n : random.integers(1, 0, static_cast<int>(-1 - n))[0];
    for (std::int64_t i = 0; i < length; ++i) {
      std::int32_t& here = target[at(order[at(i)].second)];
      here = i < kept ? std::max(here, 0) : -1;
    }
  }
}

// most: targets that a sequence has at most; 0: any number, and nothing is said about it.
void test_cross_entropy(Gpu& gpu, DType t, const Size& s, std::int64_t most = 0) {
  CAPTURE(t == DType::bf16, s.trials, s.rows(), s.in, s.out, most);
  Random random(14);
  const std::int64_t rows = s.rows(), d = s.in, V = s.out;
  const double scale = 1 / static_cast<double>(rows);
  Trials hs = as_seen(t, random.trials(s.trials, rows * d));
  const Trials heads = as_seen(t, random.trials(s.trials, V * d, 2 / std::sqrt(static_cast<double>(d))));
  const Trials dheads = random.trials(s.trials, V * d, 0.01);
  std::vector<Ints> targets;
  for (std::int64_t p = 0; p < s.trials; ++p) {
    Ints target = random.integers(rows, 0, static_cast<int>(V) - 1);
    for (std::int64_t r = p % 2; r < rows; r += 5) target[at(r)] = -1;  // not scored; all there is where rows is 1
    if (most > 0) keep_targets(random, target, s.length, p == 0 ? most : -1 - most);
    targets.push_back(std::move(target));
  }
  const auto run = [&](auto& side, std::size_t first, std::int64_t p) {
    const auto h = side.in(t, {p, s.batch, s.length, d}, hs, first), head = side.in(t, {p, V, d}, heads, first);
    const auto target = side.in({p, s.batch, s.length}, targets, first);
    const auto loss = side.out(DType::f32, {p, s.batch, s.length}), eval = side.out(DType::f32, {p, s.batch, s.length});
    const auto dh = side.out(t, {p, s.batch, s.length, d});
    const auto dhead = side.in(DType::f32, {p, V, d}, dheads, first);
    const auto predicted = side.out({p, s.batch, s.length});
    kernels::linear_cross_entropy_train(side.ctx, h, head, target, scale, loss, dh, dhead, most);
    kernels::linear_cross_entropy_eval(side.ctx, h, head, target, eval, predicted, most);
    return Results{read(loss), read(eval), read(dh), read(dhead), read(predicted)};
  };
  OnGpu side{gpu};
  const Results got = run(side, 0, s.trials);
  const double limit = t == DType::f32 ? kF32 : kThrough;
  for (std::size_t p = 0; p < at(s.trials); ++p) {
    const auto want = oracle::linear_cross_entropy(hs[p], heads[p], targets[p], d, V, scale);
    const Vector logits = oracle::linear(hs[p], heads[p], rows, d, V);
    CAPTURE(p);
    CHECK(error(got[0][p], want.loss) < limit);
    CHECK(error(got[1][p], want.loss) < limit);
    CHECK(error(got[2][p], want.dh) < limit);
    CHECK(error(got[3][p], sum(want.dhead, dheads[p])) < limit);
    bool right = true;
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto predicted = static_cast<std::int32_t>(got[4][p][at(r)]), best = want.predicted[at(r)];
      if (predicted == best) continue;
      // Another token only where its logit is equal but for rounding.
      right = right && best >= 0 && predicted >= 0 && predicted < V &&
              logits[at(r * V + predicted)] > logits[at(r * V + best)] - limit * std::abs(logits[at(r * V + best)]);
    }
    CHECK(right);
  }
  if (t == DType::f32) {
    OnCpu cpu;
    const Results want = run(cpu, 0, s.trials);
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t p = 0; p < at(s.trials); ++p) CHECK(error(got[i][p], want[i][p]) < kF32);
    }
  }
  check_alone(side, got, s.trials, run);
  if (s.trials != 3) return;
  spoil(hs);
  check_neighbours(side, got, s.trials, run);
}

const std::vector<Size> kSmall{{1, 1, 1, 32, 40},  {3, 1, 7, 40, 33},  {1, 1, 7, 64, 128},
                               {3, 3, 11, 96, 64}, {1, 2, 20, 33, 17}, {32, 1, 7, 32, 64}};
const std::vector<Size> kLarge{{1, 1, 513, 32, 128}, {3, 1, 513, 40, 33},   {1, 1, 513, 64, 192},
                               {1, 3, 171, 96, 100}, {3, 1, 171, 128, 384}, {1, 1, 130, 256, 768},
                               {1, 1, 1, 512, 512},  {1, 1, 257, 512, 128}, {32, 1, 65, 64, 128},
                               {32, 1, 7, 128, 384}, {3, 1, 7, 512, 512}};

DType both() {
  return GENERATE(DType::f32, DType::bf16);
}

}  // namespace

TEST_CASE("linear on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_linear(gpu, t, s);
}

TEST_CASE("linear on the GPU agrees at larger sizes, and when it cuts its rows into chunks", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_linear(gpu, t, s);
  test_linear(gpu, t, {3, 16, 1024, 32, 24});
  test_linear(gpu, t, {2, 3, 1365, 40, 33});
}

TEST_CASE("norm_linear on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_norm_linear(gpu, t, s);
}

TEST_CASE("norm_linear on the GPU agrees at larger sizes", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_norm_linear(gpu, t, s);
}

TEST_CASE("feed_forward on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_feed_forward(gpu, t, s);
}

TEST_CASE("feed_forward on the GPU agrees at larger sizes", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_feed_forward(gpu, t, s);
}

TEST_CASE("linear_cross_entropy on the GPU agrees with the CPU and the oracle", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kSmall) test_cross_entropy(gpu, t, s);
}

// The head on the rows with a target alone; 2 * 4 > 7 and 2 * 6 > 11 are above what it is done for.
TEST_CASE("linear_cross_entropy on the GPU agrees where few positions have a target", "[gpu][linear][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  test_cross_entropy(gpu, t, {1, 1, 2, 32, 40}, 1);
  for (const std::int64_t most : {1, 3, 4}) test_cross_entropy(gpu, t, {3, 2, 7, 40, 33}, most);
  for (const std::int64_t most : {5, 6}) test_cross_entropy(gpu, t, {3, 3, 11, 96, 64}, most);
  test_cross_entropy(gpu, t, {1, 2, 20, 33, 17}, 9);
  test_cross_entropy(gpu, t, {32, 2, 7, 32, 64}, 2);
}

TEST_CASE("linear_cross_entropy on the GPU agrees at larger sizes where few positions have a target",
          "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  test_cross_entropy(gpu, t, {3, 3, 171, 64, 512}, 1);
  test_cross_entropy(gpu, t, {1, 2, 513, 40, 33}, 256);
  test_cross_entropy(gpu, t, {32, 5, 64, 64, 128}, 4);
  test_cross_entropy(gpu, t, {3, 9, 65, 128, 384}, 31);
}

TEST_CASE("linear_cross_entropy on the GPU plans the memory it takes, less where few positions have a target",
          "[gpu][linear]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const std::int64_t P = 3, B = 4, T = 64, d = 32, V = 256;
  const DeviceTensor h(DType::f32, {P, B, T, d}, Random(1).trials(P, B * T * d)),
      head(DType::f32, {P, V, d}, Random(2).trials(P, V * d)),
      dhead(DType::f32, {P, V, d}, Trials(P, Vector(at(V * d))));
  const DeviceTensor targets(DType::i32, {P, B, T}, std::vector<Ints>(P, Ints(at(B * T), -1)));
  const DeviceTensor loss(DType::f32, {P, B, T}), dh(DType::f32, {P, B, T, d});
  const auto bytes = [&](bool planning, std::int64_t most) {
    Context ctx;
    ctx.device = gpu.ctx.device;
    ctx.gpu = gpu.ctx.gpu;
    ctx.planning = planning;
    ctx.arena = planning ? kernels::Arena::planner(ctx.device) : kernels::Arena(ctx.device);
    kernels::linear_cross_entropy_train(ctx, h, head, targets, 1, loss, dh, dhead, most);
    gpu.runtime.synchronize();
    return ctx.arena.peak();
  };
  for (const std::int64_t most : {0, 4, 32, 33}) CHECK(bytes(true, most) == bytes(false, most));
  CHECK(4 * bytes(true, 4) < bytes(true, 0));
  CHECK(bytes(true, 33) == bytes(true, 0));
}

TEST_CASE("linear_cross_entropy on the GPU agrees at larger sizes", "[gpu][linear][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  for (const Size& s : kLarge) test_cross_entropy(gpu, t, s);
}

}  // namespace hylas::test
