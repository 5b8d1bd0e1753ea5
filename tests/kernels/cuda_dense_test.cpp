// swiglu, add_rmsnorm, qkv_rope, adamw and memory on the GPU against the oracle: f32 and bf16, odd sizes and aligned
// ones, results of trials together and alone bit for bit, nothing written outside, a trial's NaN kept to itself.
#include "kernels/backends.hpp"
#include "tests/kernels/cuda_dense_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

void check_swiglu(Gpu& gpu, DType t, const Shapes& shapes) {
  Random random(41);
  for (const auto& [b, length, f] : shapes) {
    CAPTURE(b, length, f);
    Trials gates = as_seen(t, random.trials(trials, b * length * 2 * f, 3));
    if (f > 1) {
      gates[1][0] = 100;  // the gate saturates, and closes
      gates[2][0] = -100;
    }
    const Trials douts = as_seen(t, random.trials(trials, b * length * f));
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const DeviceTensor gate_up(t, {p, b, length, 2 * f}, gates, first, gap);
      const DeviceTensor dout(t, {p, b, length, f}, douts, first, gap);
      const DeviceTensor out(t, {p, b, length, f}, gap), act(t, {p, b, length, f}, gap);
      const DeviceTensor dgate_up(t, {p, b, length, 2 * f}, gap), again(t, {p, b, length, 2 * f}, gap);
      cuda::swiglu_forward(gpu.ctx, gate_up, out);
      cuda::swiglu_backward(gpu.ctx, dout, gate_up, dgate_up, act);
      cuda::swiglu_backward(gpu.ctx, dout, gate_up, again, {});
      for (const auto* m : {&out, &act, &dgate_up}) m->check_fences();
      for (std::int64_t i = 0; i < p; ++i) CHECK(same_bits(dgate_up.values(i), again.values(i)));
      return std::array{out.all(), dgate_up.all(), act.all()};
    };
    const auto all = run(0, trials, 64);
    for (std::size_t p = 0; p < trials; ++p) {
      CHECK(error(all[0][p], oracle::swiglu(gates[p], f)) < limit(t, b * length * f));
      CHECK(error(all[1][p], oracle::swiglu_backward(douts[p], gates[p], f)) < limit(t, b * length * f));
      CHECK(error(all[2][p], oracle::swiglu(gates[p], f)) < limit(t, b * length * f));
    }
    check_alone(all, run);
    spoil(gates);
    check_neighbours(all, run(0, trials, 64));
  }
}

void check_rmsnorm(Gpu& gpu, DType t, const Shapes& shapes, bool with_branch) {
  Random random(42);
  const double eps = 1e-6;
  for (const auto& [b, length, d] : shapes) {
    CAPTURE(b, length, d, with_branch);
    const std::int64_t rows = b * length;
    Trials xs = as_seen(t, random.trials(trials, rows * d));
    const Trials branches = as_seen(t, random.trials(trials, rows * d)), weights = random.trials(trials, d);
    const Trials dhs = as_seen(t, random.trials(trials, rows * d)), dxs = as_seen(t, random.trials(trials, rows * d));
    const Trials dweights = random.trials(trials, d);
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const DeviceTensor x(t, {p, b, length, d}, xs, first, gap), branch(t, {p, b, length, d}, branches, first, gap);
      const DeviceTensor weight(DType::f32, {p, d}, weights, first, gap);
      const DeviceTensor dh(t, {p, b, length, d}, dhs, first, gap);
      const DeviceTensor h(t, {p, b, length, d}, gap), inv(DType::f32, {p, b, length}, gap);
      const DeviceTensor dx(t, {p, b, length, d}, dxs, first, gap), dx_again(t, {p, b, length, d}, gap);
      const DeviceTensor residual(t, {p, b, length, d}, dxs, first, gap);
      const DeviceTensor dweight(DType::f32, {p, d}, dweights, first, gap),
          dweight_again(DType::f32, {p, d}, dweights, first, gap);
      const DeviceTensor h_again(t, {p, b, length, d}, gap);
      cuda::add_rmsnorm_forward(gpu.ctx, x, with_branch ? branch.tensor() : Tensor(), weight, eps, h, inv);
      cuda::add_rmsnorm_backward(gpu.ctx, dh, x, weight, inv, dx, dweight, {}, eps);
      cuda::add_rmsnorm_backward(gpu.ctx, dh, x, weight, {}, dx_again, dweight_again, h_again, eps, residual);
      for (const auto* m : {&x, &h, &inv, &dx, &dweight, &dx_again, &h_again}) m->check_fences();
      for (std::int64_t i = 0; i < p; ++i) {
        CHECK(same_bits(h.values(i), h_again.values(i)));
        CHECK(same_bits(dx.values(i), dx_again.values(i)));
        CHECK(same_bits(dweight.values(i), dweight_again.values(i)));
      }
      return std::array{x.all(), h.all(), inv.all(), dx.all(), dweight.all()};
    };
    const auto all = run(0, trials, 64);
    for (std::size_t p = 0; p < trials; ++p) {
      const Vector x = with_branch ? as_seen(t, sum(xs[p], branches[p])) : xs[p];
      const auto norm = oracle::rmsnorm(x, weights[p], eps);
      const auto gradient = oracle::rmsnorm_backward(dhs[p], x, weights[p], eps);
      CHECK(error(all[0][p], x) < 1e-7);
      CHECK(error(all[1][p], norm.h) < limit(t, rows * d));
      CHECK(error(all[2][p], norm.inv_rms) < limit(DType::f32, rows));
      CHECK(error(all[3][p], sum(gradient.dx, dxs[p])) < limit(t, rows * d));
      CHECK(error(all[4][p], sum(gradient.dweight, dweights[p])) < 5e-6);
    }
    check_alone(all, run);
    spoil(xs);
    check_neighbours(all, run(0, trials, 64));
  }
}

}  // namespace

TEST_CASE("swiglu on the GPU agrees with the oracle", "[gpu][swiglu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_swiglu(gpu, both(), {{1, 1, 1}, {2, 7, 5}, {1, 65, 33}, {3, 9, 192}, {1, 3, 1000}});
}

TEST_CASE("add_rmsnorm on the GPU agrees with the oracle, with and without a branch", "[gpu][rmsnorm]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_rmsnorm(gpu, both(), {{1, 1, 1}, {2, 7, 5}, {1, 65, 33}, {3, 9, 64}, {1, 300, 72}, {1, 5, 320}, {2, 2, 1000}},
                GENERATE(false, true));
}

TEST_CASE("add_rmsnorm on the GPU agrees with the oracle for every way to split a row", "[gpu][rmsnorm][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_rmsnorm(gpu, both(),
                {{4, 513, 128},
                 {1, 4099, 256},
                 {1, 700, 512},
                 {1, 300, 1024},
                 {2, 33, 1536},
                 {1, 9, 4096},
                 {1, 5, 8192},
                 {1, 5, 8191},
                 {1, 40, 777}},
                GENERATE(false, true));
}

TEST_CASE("qkv_rope on the GPU agrees with the oracle and leaves values and NoPE trials alone", "[gpu][rope]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DType t = both();
  Random random(45);
  for (const auto& heads : {Heads{1, 1, 2}, Heads{3, 1, 10}, Heads{4, 2, 32}, Heads{2, 2, 64}, Heads{2, 1, 128}}) {
    for (std::int64_t length : {1, 7, 65}) {
      CAPTURE(heads.query, heads.kv, heads.dim, length);
      const std::int64_t b = 2, width = (heads.query + 2 * heads.kv) * heads.dim, half = heads.dim / 2;
      const Trials qkvs = as_seen(t, random.trials(trials, b * length * width));
      const std::vector<Ints> on{{1}, {0}, {1}};
      Vector cos, sin;
      for (std::int64_t i = 0; i < length * half; ++i) {
        const double angle =
            static_cast<double>(i / half) * std::pow(1e4, -static_cast<double>(i % half) / static_cast<double>(half));
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
      const DeviceTensor cosines(DType::f32, {1, length, half}, Trials{cos}),
          sines(DType::f32, {1, length, half}, Trials{sin});
      const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
        const DeviceTensor forward(t, {p, b, length, width}, qkvs, first, gap);
        const DeviceTensor backward(t, {p, b, length, width}, qkvs, first, gap);
        const DeviceTensor rope_on(DType::i32, {p}, on, first, 0);
        cuda::qkv_rope_forward(gpu.ctx, heads, {cosines, sines, rope_on}, forward);
        cuda::qkv_rope_backward(gpu.ctx, heads, {cosines, sines, rope_on}, backward);
        forward.check_fences();
        backward.check_fences();
        return std::array{forward.all(), backward.all()};
      };
      const auto all = run(0, trials, 64);
      for (std::size_t p = 0; p < trials; ++p) {
        for (int sign : {1, -1}) {
          Vector expected = qkvs[p];
          for (std::int64_t r = 0; r < b * length && on[p][0] != 0; ++r) {
            for (std::int64_t i = 0; i < (heads.query + heads.kv) * half; ++i) {
              const std::int64_t low = r * width + i / half * heads.dim + i % half,
                                 angle = r % length * half + i % half;
              const double x = qkvs[p][at(low)], y = qkvs[p][at(low + half)], s = sign * sin[at(angle)];
              expected[at(low)] = x * cos[at(angle)] - y * s;
              expected[at(low + half)] = y * cos[at(angle)] + x * s;
            }
          }
          const Vector& got = all[sign > 0 ? 0 : 1][p];
          CHECK(error(got, expected) < limit(t, b * length * width));
          if (on[p][0] == 0) CHECK(same_bits(got, qkvs[p]));
          for (std::int64_t i = 0; i < b * length * width; ++i) {
            if (i % width >= (heads.query + heads.kv) * heads.dim && got[at(i)] != qkvs[p][at(i)])
              FAIL("a value moved");
          }
        }
      }
      check_alone(all, run);
    }
  }
}

TEST_CASE("grad_norm, adamw and add_into on the GPU agree with the oracle", "[gpu][adamw]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(47);
  for (std::int64_t n : {1, 7, 1024, 4099, 40000}) {
    CAPTURE(n);
    Trials params = random.trials(trials, n), grads = random.trials(trials, n, 0.1), ms = random.trials(trials, n, 0.1);
    Trials vs = random.trials(trials, n, 0.1);
    for (auto& trial : vs) {
      for (double& x : trial) x = static_cast<double>(static_cast<float>(x * x));
    }
    const Trials lrs{{1e-2}, {4e-3}, {1e-3}}, decays{{0.1}, {0}, {0.5}}, clips{{1}, {0.25}, {0.5}};
    const std::vector<Ints> steps{{1}, {7}, {3000}}, apply{{1}, {1}, {0}};
    const AdamW options{.decay_count = n / 2};
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const DeviceTensor param(DType::f32, {p, n}, params, first, gap), grad(DType::f32, {p, n}, grads, first, gap);
      const DeviceTensor m(DType::f32, {p, n}, ms, first, gap), v(DType::f32, {p, n}, vs, first, gap);
      const DeviceTensor copy(DType::bf16, {p, n}, gap), norm(DType::f32, {p}, 3),
          total(DType::f32, {p, n}, ms, first, gap);
      const DeviceTensor lr(DType::f32, {p}, lrs, first), decay(DType::f32, {p}, decays, first);
      const DeviceTensor clip(DType::f32, {p}, clips, first), step(DType::i32, {p}, steps, first);
      const DeviceTensor applied(DType::i32, {p}, apply, first);
      cuda::add_into(gpu.ctx, grad, total);
      cuda::grad_norm(gpu.ctx, grad, norm);
      cuda::adamw_update(gpu.ctx, options, {lr, decay, clip, step}, param, grad, m, v, copy, applied);
      for (const auto* x : {&param, &m, &v, &copy, &norm, &total}) x->check_fences();
      return std::array{param.all(), m.all(), v.all(), copy.all(), norm.all(), total.all()};
    };
    const auto all = run(0, trials, 64);
    for (std::size_t p = 0; p < trials; ++p) {
      CHECK(error(all[5][p], sum(grads[p], ms[p])) < 1e-6);
      CHECK(error(all[4][p], {std::sqrt(dot(grads[p], grads[p]))}) < 1e-7);
      Vector param = params[p], m = ms[p], v = vs[p];
      if (apply[p][0] == 0) {
        CHECK(same_bits(all[0][p], param));
        CHECK(same_bits(all[1][p], m));
        CHECK(same_bits(all[2][p], v));
        for (double x : all[3][p]) CHECK(std::isnan(x));  // untouched
        continue;
      }
      oracle::adamw({lrs[p][0], decays[p][0], clips[p][0], 0.9, 0.95, 1e-8, steps[p][0], options.decay_count}, param,
                    grads[p], m, v);
      CHECK(error(all[0][p], param) < 2e-6);
      CHECK(error(all[1][p], m) < 1e-6);
      CHECK(error(all[2][p], v) < 1e-6);
      CHECK(same_bits(all[3][p], rounded_to_bf16(all[0][p])));
    }
    check_alone(all, run);
    spoil(grads);
    check_neighbours(all, run(0, trials, 64));
  }
}

TEST_CASE("zero, copy and cast on the GPU move what they should and nothing else", "[gpu][memory]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(48);
  for (std::int64_t n : {1, 3, 4, 8, 1000, 5001}) {
    CAPTURE(n);
    for (std::int64_t gap : {1, 2, 64}) {
      for (DType t : {DType::f32, DType::bf16, DType::f64}) {
        const Trials values = as_seen(t, random.trials(trials, n));
        const DeviceTensor from(t, {trials, n}, values, 0, gap), to(t, {trials, n}, 64), zeroed(t, {trials, n}, gap);
        cuda::copy(gpu.ctx, from, to);
        cuda::zero(gpu.ctx, zeroed);
        CHECK(to.all() == values);
        CHECK(zeroed.all() == Trials(trials, Vector(at(n))));
        to.check_fences();
        zeroed.check_fences();
      }
      const Trials values = random.trials(trials, n);
      const DeviceTensor from(DType::f32, {trials, n}, values, 0, gap), to(DType::bf16, {trials, n}, 64);
      cuda::cast(gpu.ctx, from, to);
      CHECK(to.all() == as_seen(DType::bf16, values));
      to.check_fences();
    }
  }
}
