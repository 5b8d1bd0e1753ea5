// short_conv, decay_gates and gated_norm on the GPU against the CPU in fp64: f32 and bf16, the mixers' column maps with
// packets of eight, four and single elements, results of trials together and alone bit for bit, columns of others left
// alone, nothing written outside, a trial's NaN kept to itself.
#include "kernels/backends.hpp"
#include "tests/kernels/cuda_dense_support.hpp"
#include "tests/kernels/recurrent_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;

namespace {

// Sums in f32 of rows whose terms carry a few roundings each, in bf16 those of fast exponentials besides.
constexpr double kSums = 5e-6;

using Lengths = std::vector<std::array<std::int64_t, 2>>;  // B, T

struct CpuConv {
  Vector out, dproj, dweight, dbias;
};
CpuConv cpu_conv(const ConvCase& c, std::int64_t b, std::int64_t t, const Vector& projs, const Vector& weights,
                 const Vector& biases, const Vector& douts, const Vector& dweights, const Vector& dbiases) {
  Context ctx;
  const std::int64_t n = c.conv.channels();
  const Memory<double> proj({1, b, t, c.width}, 0, Trials{projs}, 0), weight({1, n, 4}, 0, Trials{weights}, 0);
  const Memory<double> bias({1, n}, 0, Trials{biases}, 0), dout({1, b, t, n}, 0, Trials{douts}, 0);
  const Memory<double> out({1, b, t, n}, 0), dproj({1, b, t, c.width}, 0);
  const Memory<double> dweight({1, n, 4}, 0, Trials{dweights}, 0), dbias({1, n}, 0, Trials{dbiases}, 0);
  const auto given = [](bool there, const Memory<double>& m) { return there ? m.tensor() : Tensor(); };
  cpu::short_conv_forward(ctx, c.conv, proj, given(c.weight, weight), given(c.bias, bias), out);
  cpu::short_conv_backward(ctx, c.conv, proj, given(c.weight, weight), given(c.bias, bias), dout, dproj,
                           given(c.weight, dweight), given(c.bias, dbias));
  return {out.values(0), only(columns_of(c), dproj.values(0)), dweight.values(0), dbias.values(0)};
}

void check_conv(Gpu& gpu, DType t, const std::vector<ConvCase>& cases, const Lengths& lengths) {
  Random random(71);
  for (const ConvCase& c : cases) {
    for (const auto& [b, length] : lengths) {
      CAPTURE(c.name, c.width, b, length);
      const std::int64_t n = c.conv.channels(), batch = b, rows = length;
      Trials projs = as_seen(t, random.trials(trials, b * length * c.width));
      const Trials weights = as_seen(t, random.trials(trials, 4 * n, 0.5)), biases = random.trials(trials, n, 0.5);
      const Trials douts = as_seen(t, random.trials(trials, b * length * n));
      const Trials dweights = random.trials(trials, 4 * n), dbiases = random.trials(trials, n);
      const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
        const DeviceTensor proj(t, {p, batch, rows, c.width}, projs, first, gap);
        const DeviceTensor weight(t, {p, n, 4}, weights, first, gap), bias(DType::f32, {p, n}, biases, first, gap);
        const DeviceTensor dout(t, {p, batch, rows, n}, douts, first, gap), out(t, {p, batch, rows, n}, gap);
        const DeviceTensor dproj(t, {p, batch, rows, c.width}, gap);
        const DeviceTensor dweight(DType::f32, {p, n, 4}, dweights, first, gap),
            dbias(DType::f32, {p, n}, dbiases, first, gap);
        const auto given = [](bool there, const DeviceTensor& m) { return there ? m.tensor() : Tensor(); };
        cuda::short_conv_forward(gpu.ctx, c.conv, proj, given(c.weight, weight), given(c.bias, bias), out);
        cuda::short_conv_backward(gpu.ctx, c.conv, proj, given(c.weight, weight), given(c.bias, bias), dout, dproj,
                                  given(c.weight, dweight), given(c.bias, dbias));
        for (const auto* m : {&out, &dproj, &dweight, &dbias}) m->check_fences();
        return std::array{out.all(), dproj.all(), dweight.all(), dbias.all()};
      };
      const auto all = run(0, trials, 64);
      for (std::size_t p = 0; p < trials; ++p) {
        const auto expected =
            cpu_conv(c, b, length, projs[p], weights[p], biases[p], douts[p], dweights[p], dbiases[p]);
        CHECK(error(all[0][p], expected.out) < limit(t, b * length * n));
        CHECK(error(only(columns_of(c), all[1][p]), expected.dproj) < limit(t, b * length * n));
        CHECK(error(all[2][p], expected.dweight) < kSums);
        CHECK(error(all[3][p], expected.dbias) < kSums);
      }
      check_alone(all, run);
      spoil(projs);
      check_neighbours(all, run(0, trials, 64));
    }
  }
}

struct NormCase {
  GatedNorm norm;
  std::int64_t width;
};

NormCase norm_case(GatedNormForm form, std::int64_t heads, std::int64_t n) {
  switch (form) {
    case GatedNormForm::norm_silu: return {{form, heads, n, 3 * n, 4 * n, 1e-6}, 4 * heads * n + 2 * heads};
    case GatedNormForm::silu_norm: return {{form, 1, heads * n, 0, 0, 1e-5}, 2 * heads * n + heads};
    case GatedNormForm::norm_sigmoid: break;
  }
  return {{form, heads, n, 3 * heads * n, n, 1e-6}, 4 * heads * n};
}

std::array<Vector, 5> cpu_norm(const NormCase& c, std::int64_t rows, const Vector& xs, const Vector& projs,
                               const Vector& weights, const Vector& dys, const Vector& dweights) {
  Context ctx;
  const std::int64_t d = c.norm.groups * c.norm.dim;
  const Memory<double> x({1, rows, d}, 0, Trials{xs}, 0), proj({1, rows, c.width}, 0, Trials{projs}, 0),
      weight({1, c.norm.dim}, 0, Trials{weights}, 0), dy({1, rows, d}, 0, Trials{dys}, 0);
  const Memory<double> y({1, rows, d}, 0), inv({1, rows, c.norm.groups}, 0), dx({1, rows, d}, 0),
      dproj({1, rows, c.width}, 0), dweight({1, c.norm.dim}, 0, Trials{dweights}, 0);
  cpu::gated_norm_forward(ctx, c.norm, x, proj, weight, y, inv);
  cpu::gated_norm_backward(ctx, c.norm, x, proj, weight, inv, dy, dx, dproj, dweight);
  return {y.values(0), inv.values(0), dx.values(0), only(columns_of(c.norm, c.width), dproj.values(0)),
          dweight.values(0)};
}

using NormShapes = std::vector<std::array<std::int64_t, 4>>;  // B, T, heads, n

void check_norm(Gpu& gpu, DType t, GatedNormForm form, const NormShapes& shapes) {
  Random random(72);
  for (const auto& [b, length, heads, n] : shapes) {
    const NormCase c = norm_case(form, heads, n);
    const int which = static_cast<int>(form);
    CAPTURE(which, b, length, heads, n);
    const std::int64_t rows = b * length, d = c.norm.groups * c.norm.dim;
    Trials xs = as_seen(t, random.trials(trials, rows * d));
    const Trials projs = as_seen(t, random.trials(trials, rows * c.width, 2)),
                 dys = as_seen(t, random.trials(trials, rows * d));
    const Trials weights = random.trials(trials, c.norm.dim), dweights = random.trials(trials, c.norm.dim);
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const DeviceTensor x(t, {p, rows, d}, xs, first, gap), proj(t, {p, rows, c.width}, projs, first, gap);
      const DeviceTensor weight(DType::f32, {p, c.norm.dim}, weights, first, gap), dy(t, {p, rows, d}, dys, first, gap);
      const DeviceTensor y(t, {p, rows, d}, gap), inv(DType::f32, {p, rows, c.norm.groups}, gap);
      const DeviceTensor dx(t, {p, rows, d}, gap), dproj(t, {p, rows, c.width}, gap);
      const DeviceTensor dweight(DType::f32, {p, c.norm.dim}, dweights, first, gap);
      cuda::gated_norm_forward(gpu.ctx, c.norm, x, proj, weight, y, inv);
      cuda::gated_norm_backward(gpu.ctx, c.norm, x, proj, weight, inv, dy, dx, dproj, dweight);
      // In place, as passes without a backward may.
      const DeviceTensor same(t, {p, rows, d}, xs, first, gap), inv_again(DType::f32, {p, rows, c.norm.groups}, gap);
      cuda::gated_norm_forward(gpu.ctx, c.norm, same, proj, weight, same, inv_again);
      for (std::int64_t i = 0; i < p; ++i) CHECK(same_bits(same.values(i), y.values(i)));
      for (const auto* m : {&y, &inv, &dx, &dproj, &dweight, &same}) m->check_fences();
      return std::array{y.all(), inv.all(), dx.all(), dproj.all(), dweight.all()};
    };
    const auto all = run(0, trials, 64);
    for (std::size_t p = 0; p < trials; ++p) {
      const auto expected = cpu_norm(c, rows, xs[p], projs[p], weights[p], dys[p], dweights[p]);
      CHECK(error(all[0][p], expected[0]) < limit(t, rows * d));
      CHECK(error(all[1][p], expected[1]) < limit(DType::f32, rows));
      CHECK(error(all[2][p], expected[2]) < limit(t, rows * d));
      CHECK(error(only(columns_of(c.norm, c.width), all[3][p]), expected[3]) < limit(t, rows * d));
      CHECK(error(all[4][p], expected[4]) < kSums);
    }
    check_alone(all, run);
    spoil(xs);
    check_neighbours(all, run(0, trials, 64));
  }
}

struct GatesCase {
  DecayGates gates;
  std::int64_t width;
};

// Gated DeltaNet's two maps, one of them padded, and Mamba-2's.
std::vector<GatesCase> gates_cases(std::int64_t heads) {
  return {{{heads, 40 + heads, 1, false, 40, 1}, 40 + 2 * heads},
          {{heads, 3, 2, false, 2, 2, 2 + 2 * heads, 7}, 9 + 2 * heads},
          {{heads, 17, 1, true}, 17 + heads}};
}

void check_gates(Gpu& gpu, DType t, const Shapes& shapes) {
  Random random(73);
  for (const auto& [b, length, heads] : shapes) {
    for (const GatesCase& c : gates_cases(heads)) {
      CAPTURE(b, length, heads, c.gates.beta_is_step, c.gates.step_stride);
      const std::int64_t rows = b * length, h = heads;
      Trials projs = as_seen(t, random.trials(trials, rows * c.width, 3));
      for (const std::int64_t at : {std::int64_t{0}, c.gates.step_at, c.gates.beta_at}) {
        projs[0][static_cast<std::size_t>(at)] = as_seen(t, Vector{1e4})[0];
        projs[2][static_cast<std::size_t>(at)] = as_seen(t, Vector{-1e4})[0];
      }
      const Trials a_logs = random.trials(trials, heads), biases = random.trials(trials, heads, 3);
      const Trials dgs = random.trials(trials, rows * heads), dbetas = random.trials(trials, rows * heads);
      const Trials da_logs = random.trials(trials, heads), dbiases = random.trials(trials, heads);
      const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
        const DeviceTensor proj(t, {p, rows, c.width}, projs, first, gap);
        const DeviceTensor a_log(DType::f32, {p, h}, a_logs, first, gap), bias(DType::f32, {p, h}, biases, first, gap);
        const DeviceTensor dg(DType::f32, {p, rows, h}, dgs, first, gap),
            dbeta(DType::f32, {p, rows, h}, dbetas, first, gap);
        const DeviceTensor g(DType::f32, {p, rows, h}, gap), beta(DType::f32, {p, rows, h}, gap);
        const DeviceTensor dproj(t, {p, rows, c.width}, gap), da_log(DType::f32, {p, h}, da_logs, first, gap),
            dbias(DType::f32, {p, h}, dbiases, first, gap);
        cuda::decay_gates_forward(gpu.ctx, c.gates, proj, a_log, bias, g, beta);
        cuda::decay_gates_backward(gpu.ctx, c.gates, proj, a_log, bias, dg, dbeta, dproj, da_log, dbias);
        for (const auto* m : {&g, &beta, &dproj, &da_log, &dbias}) m->check_fences();
        return std::array{g.all(), beta.all(), dproj.all(), da_log.all(), dbias.all()};
      };
      const auto all = run(0, trials, 64);
      for (std::size_t p = 0; p < trials; ++p) {
        Context ctx;
        const Memory<double> proj({1, rows, c.width}, 0, projs, p), a_log({1, h}, 0, a_logs, p),
            bias({1, h}, 0, biases, p), dg({1, rows, h}, 0, dgs, p), dbeta({1, rows, h}, 0, dbetas, p);
        const Memory<double> g({1, rows, h}, 0), beta({1, rows, h}, 0), dproj({1, rows, c.width}, 0),
            da_log({1, h}, 0, da_logs, p), dbias({1, h}, 0, dbiases, p);
        cpu::decay_gates_forward(ctx, c.gates, proj, a_log, bias, g, beta);
        cpu::decay_gates_backward(ctx, c.gates, proj, a_log, bias, dg, dbeta, dproj, da_log, dbias);
        const Columns columns = columns_of(c.gates, c.width);
        CHECK(error(all[0][p], g.values(0)) < limit(DType::f32, rows));
        CHECK(error(all[1][p], beta.values(0)) < limit(DType::f32, rows));
        CHECK(error(only(columns, all[2][p]), only(columns, dproj.values(0))) < limit(t, rows * heads));
        CHECK(error(all[3][p], da_log.values(0)) < kSums);
        CHECK(error(all[4][p], dbias.values(0)) < kSums);
      }
      check_alone(all, run);
      spoil(projs);
      check_neighbours(all, run(0, trials, 64));
    }
  }
}

}  // namespace

TEST_CASE("short_conv on the GPU agrees with the CPU for the maps of the mixers", "[gpu][short_conv][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  // Rows of the projection that are a multiple of eight, four (as with 644 columns) and one elements; heads that fill
  // their lanes and that do not, and of more than a warp's.
  check_conv(gpu, both(),
             {gdn_case(4, 16), gdn_case(2, 12), gdn_case(3, 5), gdn_case(1, 37), mamba2_case(24, 16), mamba2_case(7, 3),
              lightning_case(2, 24)},
             {{1, 1}, {2, 3}, {2, 21}});
  check_conv(gpu, both(), {gdn_case(2, 64), gdn_case(2, 256), mamba2_case(288, 64), unequal_heads_case()},
             {{1, 4}, {2, 19}});
}

TEST_CASE("short_conv on the GPU agrees with the CPU on long runs", "[gpu][short_conv][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_conv(gpu, both(), {gdn_case(4, 128), mamba2_case(1024, 64)}, {{2, 2739}});
}

TEST_CASE("decay_gates on the GPU agrees with the CPU, also far out", "[gpu][decay_gates][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_gates(gpu, both(), {{1, 1, 1}, {2, 3, 4}, {3, 65, 2}, {1, 9, 24}, {1, 700, 3}, {1, 520, 130}});
}

TEST_CASE("decay_gates on the GPU agrees with the CPU over many chunks", "[gpu][decay_gates][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_gates(gpu, both(), {{2, 30011, 8}});
}

TEST_CASE("gated_norm on the GPU agrees with the CPU in its three forms", "[gpu][gated_norm][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const auto form = GENERATE(GatedNormForm::norm_silu, GatedNormForm::silu_norm, GatedNormForm::norm_sigmoid);
  check_norm(gpu, both(), form, {{2, 3, 2, 5}, {1, 7, 4, 16}, {2, 19, 2, 64}, {1, 3, 1, 320}, {1, 2, 2, 333}});
}

TEST_CASE("gated_norm on the GPU agrees with the CPU where blocks of several warps take rows in turn",
          "[gpu][gated_norm][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_norm(gpu, DType::f32, GatedNormForm::silu_norm, {{1, 515, 1, 260}});
}

TEST_CASE("gated_norm on the GPU agrees with the CPU for every way to split a row", "[gpu][gated_norm][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const auto form = GENERATE(GatedNormForm::norm_silu, GatedNormForm::silu_norm, GatedNormForm::norm_sigmoid);
  check_norm(gpu, both(), form,
             {{1, 1031, 8, 64}, {1, 300, 4, 512}, {1, 40, 1, 2048}, {1, 5, 2, 4096}, {1, 5, 1, 8191}});
}

TEST_CASE("the operators around a recurrence plan their scratch and launch nothing", "[gpu][short_conv]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const ConvCase c = gdn_case(2, 16);
  const std::int64_t n = c.conv.channels(), rows = 50;
  const DType t = DType::f32;
  const DeviceTensor proj(t, {2, 1, rows, c.width}), weight(t, {2, n, 4}), out(t, {2, 1, rows, n}),
      dweight(t, {2, n, 4});
  const DeviceTensor x(t, {2, 1, rows, 32}), norm_weight(t, {2, 16}), inv(t, {2, 1, rows, 2}), dnorm(t, {2, 16});
  const DeviceTensor a_log(t, {2, 2}), g(t, {2, 1, rows, 2}), da_log(t, {2, 2});
  const GatedNorm norm = norm_case(GatedNormForm::norm_silu, 2, 16).norm;
  const DecayGates gates{2, 128, 1, false, 130, 1};
  const auto backward = [&](Context& ctx) {
    cuda::short_conv_backward(ctx, c.conv, proj, weight, {}, out, proj, dweight, {});
    cuda::decay_gates_backward(ctx, gates, proj, a_log, a_log, g, g, proj, da_log, da_log);
    cuda::gated_norm_backward(ctx, norm, x, proj, norm_weight, inv, x, x, proj, dnorm);
  };
  Context plan;
  plan.device = gpu.ctx.device;
  plan.gpu = gpu.ctx.gpu;
  plan.planning = true;
  plan.arena = Arena::planner(plan.device);
  backward(plan);
  CHECK(plan.arena.mark().used == 0);  // all of it is given back
  REQUIRE(plan.arena.peak() > 0);
  gpu.ctx.arena.reserve(plan.arena.peak());
  const std::size_t capacity = gpu.ctx.arena.capacity();
  backward(gpu.ctx);
  CHECK(gpu.ctx.arena.capacity() == capacity);
}

TEST_CASE("the operators around a recurrence say which tensor does not fit on the GPU", "[gpu][short_conv]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const ConvCase c = gdn_case(1, 129);  // columns aligned to nothing: heads of up to 128 can be normalised
  const std::int64_t n = c.conv.channels();
  const DType t = DType::f32;
  const DeviceTensor proj(t, {1, 1, 2, c.width}), weight(t, {1, n, 4}), out(t, {1, 1, 2, n}), a_log(t, {1, 1}),
      g(t, {1, 1, 2, 1}), half(DType::bf16, {1, n, 4});
  const auto conv = [&](const Tensor& w, const Tensor& y) {
    cuda::short_conv_forward(gpu.ctx, c.conv, proj, w, {}, y);
  };
  CHECK_THROWS_AS(conv(weight, out), std::invalid_argument);
  CHECK_THROWS_AS(conv(half, out), std::invalid_argument);
  CHECK_THROWS_AS(conv(weight, proj), std::invalid_argument);
  const DecayGates gates{1, c.width, 1, true};
  CHECK_THROWS_AS(cuda::decay_gates_forward(gpu.ctx, gates, proj, a_log, a_log, g, g), std::invalid_argument);
  const GatedNorm norm{GatedNormForm::norm_silu, 3, 129, 390, 129, 1e-6};
  CHECK_THROWS_AS(cuda::gated_norm_forward(gpu.ctx, norm, out, proj, weight, out, g), std::invalid_argument);
}
