// recurrence on the GPU against the oracle: bf16 (dims 32, 64, 128) and fp32, with and without the delta rule, every
// decay and write strength, shared queries and keys, odd lengths, extremes, and the same bits for a trial alone and
// among others.
#include "kernels/backends.hpp"
#include "tests/kernels/cuda_support.hpp"
#include "tests/kernels/recurrence_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

using Outputs = RecurrenceOutputs<double>;

// A case with everything as the device sees it.
RecurrenceCase seen_case(Random& random, DType dtype, const oracle::RecurrenceShape& s, Decay decay, Strength strength,
                         bool skip, std::int64_t trials) {
  RecurrenceCase c = recurrence_case(random, s, decay, strength, skip, trials);
  for (auto& in : c.trials) in.qkv = as_seen(dtype, in.qkv);
  c.dout = as_seen(dtype, c.dout);
  return c;
}

// Trials first .. first + p of the case, forward and backward.
Outputs run(Gpu& gpu, DType dtype, const RecurrenceCase& c, std::size_t first, std::int64_t p, std::int64_t gap) {
  const oracle::RecurrenceShape& s = c.shape;
  const std::int64_t B = s.batch, T = s.length, H = s.heads;
  const bool beta_there = c.trials[0].beta.has_value(), skip_there = c.trials[0].skip.has_value();
  const auto or_zeros = [](const std::optional<Vector>& v, std::int64_t n) { return v ? *v : Vector(at(n)); };
  const DeviceTensor qkv(dtype, {p, B, T, s.width}, each(c, [](const auto& in) { return in.qkv; }), first, gap);
  const DeviceTensor g(DType::f32, {p, B, T, H}, each(c, [](const auto& in) { return in.g; }), first, 3);
  const DeviceTensor constant(DType::f32, {1, H}, Trials{Vector(c.trials[0].g.begin(), c.trials[0].g.begin() + H)});
  const DeviceTensor beta(DType::f32, {p, B, T, H},
                          each(c, [&](const auto& in) { return or_zeros(in.beta, s.gates()); }), first, 5);
  const DeviceTensor skip(DType::f32, {p, H}, each(c, [&](const auto& in) { return or_zeros(in.skip, H); }), first, 3);
  const DeviceTensor dout(dtype, {p, B, T, H * s.value_dim}, c.dout, first, gap);
  const DeviceTensor out(dtype, {p, B, T, H * s.value_dim}, gap), dqkv(dtype, {p, B, T, s.width}, gap);
  const DeviceTensor dg(DType::f32, {p, B, T, H}, 7), dbeta(DType::f32, {p, B, T, H}, 3);
  const DeviceTensor dskip(DType::f32, {p, H}, Trials(c.trials.size(), Vector(at(H), poison_before)), first, 3);
  const RecurrenceInputs in{qkv, c.constant_decay ? constant.tensor() : g.tensor(),
                            beta_there ? beta.tensor() : Tensor(), skip_there ? skip.tensor() : Tensor()};
  const RecurrenceGradients gradients{dqkv, c.constant_decay ? Tensor() : dg.tensor(),
                                      beta_there ? dbeta.tensor() : Tensor(), skip_there ? dskip.tensor() : Tensor()};
  const ArenaScope scope(gpu.ctx.arena);
  RecurrenceSaved saved;
  recurrence_forward(gpu.ctx, recurrence_of(s, 64), in, out, saved);
  recurrence_backward(gpu.ctx, recurrence_of(s, 64), in, saved, dout, gradients);
  for (const auto* m : {&out, &dqkv, &dg, &dbeta, &dskip}) m->check_fences();
  return {out.all(), dqkv.all(), dg.all(), dbeta.all(), dskip.all()};
}

// The columns of one of q, k, v.
Vector columns(const oracle::RecurrenceShape& s, const Vector& rows, std::int64_t first, std::int64_t count) {
  Vector v;
  for (std::int64_t row = 0; row < s.batch * s.length; ++row) {
    const auto begin = rows.begin() + row * s.width + first;
    v.insert(v.end(), begin, begin + count);
  }
  return v;
}

// Errors as norms. bf16: what public kernels allow themselves; an operand rounded to bf16 is off by .0011 (root mean
// square), and up to four such products follow one another. fp32: the same sums as the CPU in another order.
struct Tolerances {
  double out, dqkv, dgates;
};
constexpr Tolerances in_bf16{.005, .008, .02}, in_fp32{1e-5, 1e-5, 1e-4};

void check_trial(const RecurrenceCase& c, const Outputs& all, std::size_t p, std::size_t i, const Tolerances& allowed) {
  const oracle::RecurrenceShape& s = c.shape;
  const auto d = oracle::recurrence_backward(s, c.trials[i], c.dout[i]);
  CHECK(error(all.out[p], oracle::recurrence(s, c.trials[i])) < allowed.out);
  const auto check_columns = [&](const char* name, std::int64_t first, std::int64_t count) {
    CAPTURE(name);
    CHECK(error(columns(s, all.dqkv[p], first, count), columns(s, d.dqkv, first, count)) < allowed.dqkv);
  };
  check_columns("dq", s.q_at, s.groups * s.key_dim);
  check_columns("dk", s.k_at, s.groups * s.key_dim);
  check_columns("dv", s.v_at, s.heads * s.value_dim);
  bool untouched = true;
  for (double x : written_columns(s, all.dqkv[p], true)) untouched = untouched && std::isnan(x);
  CHECK(untouched);
  if (!c.constant_decay) CHECK(error(all.dg[p], d.dg) < allowed.dgates);
  if (c.trials[i].beta) CHECK(error(all.dbeta[p], d.dbeta) < allowed.dgates);
  if (c.trials[i].skip) {
    Vector expected = d.dskip;
    for (double& x : expected) x += poison_before;
    CHECK(error(all.dskip[p], expected) < allowed.dqkv);
  }
}

void check_case(Gpu& gpu, DType dtype, const RecurrenceCase& c) {
  const oracle::RecurrenceShape& s = c.shape;
  const auto trials = static_cast<std::int64_t>(c.trials.size());
  CAPTURE(s.delta, s.length, s.heads, s.groups, s.key_dim, s.value_dim);
  const Outputs all = run(gpu, dtype, c, 0, trials, 64);
  for (std::size_t p = 0; p < c.trials.size(); ++p) {
    CAPTURE(p);
    check_trial(c, all, p, p, dtype == DType::bf16 ? in_bf16 : in_fp32);
  }
}

bool all_finite(const Vector& v) {
  return std::all_of(v.begin(), v.end(), [](double x) { return std::isfinite(x); });
}

}  // namespace

TEST_CASE("recurrence on the GPU agrees with the oracle: the delta rule", "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(81);
  for (const std::int64_t dim : {32, 64, 128}) {
    check_case(gpu, DType::bf16,
               seen_case(random, DType::bf16, recurrence_shape(true, 1, 130, 2, 2, dim, dim, 8), Decay::random,
                         Strength::random, false, 1));
  }
  check_case(gpu, DType::bf16,
             seen_case(random, DType::bf16, recurrence_shape(true, 2, 70, 4, 2, 32, 32, 8), Decay::weak,
                       Strength::random, true, 2));
}

TEST_CASE("recurrence on the GPU agrees with the oracle: the plain form", "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(82);
  for (const std::int64_t dim : {32, 64, 128}) {  // Lightning: one decay a head
    check_case(gpu, DType::bf16,
               seen_case(random, DType::bf16, recurrence_shape(false, 1, 130, 2, 2, dim, dim, 8), Decay::constant,
                         Strength::absent, false, 1));
  }
  for (const std::int64_t dim : {32, 64, 128}) {  // Mamba-2: one group
    check_case(gpu, DType::bf16,
               seen_case(random, DType::bf16, recurrence_shape(false, 1, 100, 3, 1, dim, dim, 8), Decay::random,
                         Strength::random, true, dim == 32 ? 2 : 1));
  }
}

TEST_CASE("recurrence on the GPU agrees with the oracle: every decay and write strength",
          "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(83);
  for (const bool delta : {false, true}) {
    for (Decay decay : {Decay::none, Decay::weak, Decay::strong, Decay::half_strong, Decay::random}) {
      for (Strength strength : {Strength::zero, Strength::one, Strength::random}) {
        CAPTURE(name_of(decay), static_cast<int>(strength));
        check_case(gpu, DType::bf16,
                   seen_case(random, DType::bf16, recurrence_shape(delta, 1, 100, 1, 1, 32, 32, 0), decay, strength,
                             false, 1));
      }
    }
  }
}

TEST_CASE("recurrence on the GPU agrees with the oracle: lengths of one token and around a chunk",
          "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(84);
  // Eight heads: of a single token dq is one number, v . dout, times k, and by chance that sum can cancel.
  for (const bool delta : {false, true}) {
    for (const std::int64_t length : {1, 7, 63, 64, 65}) {
      check_case(gpu, DType::bf16,
                 seen_case(random, DType::bf16, recurrence_shape(delta, 2, length, 4, 4, 32, 32, 8), Decay::random,
                           Strength::random, true, 1));
    }
  }
}

TEST_CASE("recurrence on the GPU agrees with the oracle in fp32, of any dims", "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(85);
  for (const bool delta : {false, true}) {
    for (Decay decay : {Decay::none, Decay::half_strong, Decay::random, Decay::constant}) {
      CAPTURE(name_of(decay));
      check_case(gpu, DType::f32,
                 seen_case(random, DType::f32, recurrence_shape(delta, 1, 70, 2, 1, 16, 12, 1), decay, Strength::random,
                           true, 2));
    }
    check_case(gpu, DType::f32,
               seen_case(random, DType::f32, recurrence_shape(delta, 2, 35, 4, 2, 5, 130 - 33, 3), Decay::random,
                         Strength::random, true, 1));
  }
}

TEST_CASE("a trial of recurrence on the GPU has the same bits alone and among others", "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(86);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const bool delta : {false, true}) {
      const auto s = recurrence_shape(delta, 2, 70, 2, 1, 32, 32, 8);
      const RecurrenceCase c = seen_case(random, dtype, s, Decay::random, Strength::random, true, 3);
      const Outputs all = run(gpu, dtype, c, 0, 3, 64);
      for (std::size_t p = 0; p < 3; ++p) {
        CAPTURE(delta, p);
        const Outputs alone = run(gpu, dtype, c, p, 1, 128);
        CHECK(same_bits(all.out[p], alone.out[0]));
        CHECK(same_bits(written_columns(s, all.dqkv[p]), written_columns(s, alone.dqkv[0])));
        CHECK(same_bits(all.dg[p], alone.dg[0]));
        CHECK(same_bits(all.dbeta[p], alone.dbeta[0]));
        CHECK(same_bits(all.dskip[p], alone.dskip[0]));
      }
    }
  }
}

TEST_CASE("recurrence on the GPU has the same bits however many columns a thread block takes",
          "[gpu][recurrence][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(92);
  struct Cohort {
    std::int64_t dim, trials;
  };
  // 11 heads a trial: on 132 multiprocessors two warps a block, then four, then (dim 128) eight.
  for (const Cohort& cohort : {Cohort{64, 6}, Cohort{128, 3}, Cohort{128, 9}}) {
    for (const bool delta : {false, true}) {
      const auto s = recurrence_shape(delta, 1, 70, 11, 11, cohort.dim, cohort.dim, 0);
      const RecurrenceCase c = seen_case(random, DType::bf16, s, Decay::weak, Strength::random, false, cohort.trials);
      const Outputs all = run(gpu, DType::bf16, c, 0, cohort.trials, 64);
      const Outputs alone = run(gpu, DType::bf16, c, 1, 1, 64);
      CAPTURE(cohort.dim, cohort.trials, delta);
      check_trial(c, all, 1, 1, in_bf16);
      CHECK(same_bits(all.out[1], alone.out[0]));
      CHECK(same_bits(written_columns(s, all.dqkv[1]), written_columns(s, alone.dqkv[0])));
      CHECK(same_bits(all.dg[1], alone.dg[0]));
      CHECK(same_bits(all.dbeta[1], alone.dbeta[0]));
    }
  }
}

TEST_CASE("recurrence on the GPU is finite at the extremes, and forgets behind a full decay",
          "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(87);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const bool delta : {false, true}) {
      const auto s = recurrence_shape(delta, 1, 100, 1, 1, 32, 32, 0);
      RecurrenceCase c = seen_case(random, dtype, s, Decay::none, Strength::one, false, 1);
      for (std::size_t t : {20U, 31U, 32U, 63U, 64U, 65U}) c.trials[0].g[t] = -1e4;
      c.trials[0].g[40] = -INFINITY;
      c.trials[0].g[64] = -INFINITY;
      const Outputs whole = run(gpu, dtype, c, 0, 1, 64);
      CHECK(all_finite(whole.out[0]));
      CHECK(all_finite(whole.dg[0]));
      CHECK(all_finite(whole.dbeta[0]));
      CHECK(all_finite(written_columns(s, whole.dqkv[0])));
      check_trial(c, whole, 0, 0, dtype == DType::bf16 ? in_bf16 : in_fp32);
      // Other tokens before position 65 do not move what comes after.
      RecurrenceCase other = c;
      for (std::size_t i = 0; i < 65 * at(s.width); ++i) other.trials[0].qkv[i] = -c.trials[0].qkv[i];
      const Outputs changed = run(gpu, dtype, other, 0, 1, 64);
      const auto tail = [](const Vector& v) { return Vector(v.begin() + std::ptrdiff_t{65 * 32}, v.end()); };
      CHECK(same_bits(tail(whole.out[0]), tail(changed.out[0])));
    }
  }
}

TEST_CASE("recurrence on the GPU: what a query does not see may overflow", "[gpu][recurrence][sanitize]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(88);
  const auto s = recurrence_shape(false, 1, 64, 1, 1, 32, 32, 0);
  RecurrenceCase c = seen_case(random, DType::bf16, s, Decay::strong, Strength::absent, false, 1);
  for (std::int64_t i = 0; i < s.key_dim; ++i) {
    c.trials[0].qkv[at(3 * s.width + s.q_at + i)] = from_bf16(to_bf16(1e25));
    c.trials[0].qkv[at(60 * s.width + s.k_at + i)] = from_bf16(to_bf16(1e25));
    c.trials[0].qkv[at(60 * s.width + s.q_at + i)] = 0;
  }
  for (std::int64_t t = 61; t < s.length; ++t) c.trials[0].g[at(t)] = -1e4;
  CHECK(all_finite(run(gpu, DType::bf16, c, 0, 1, 64).out[0]));
}

TEST_CASE("recurrence on the GPU agrees with the oracle: many chunks", "[gpu][recurrence][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(89);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    for (const bool delta : {false, true}) {
      for (Decay decay : {Decay::none, Decay::weak, Decay::half_strong, Decay::random}) {
        CAPTURE(name_of(decay));
        check_case(gpu, dtype,
                   seen_case(random, dtype, recurrence_shape(delta, 2, 513, 2, 2, 64, 64, 8), decay, Strength::random,
                             true, 2));
      }
    }
    check_case(gpu, dtype,
               seen_case(random, dtype, recurrence_shape(true, 1, 513, 2, 2, 128, 128, 0), Decay::weak,
                         Strength::random, false, 1));
  }
}

TEST_CASE("recurrence on the GPU agrees with the oracle over segments of a long sequence", "[gpu][recurrence][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(91);
  for (const bool delta : {false, true}) {
    for (Decay decay : {Decay::none, Decay::weak, Decay::random}) {
      // 130 chunks: two segments of 64 and one of 2. A few strong writes, so that states outlive a segment and what it
      // does to them is far from symmetric.
      CAPTURE(name_of(decay));
      RecurrenceCase c = seen_case(random, DType::bf16, recurrence_shape(delta, 1, 8300, 2, delta ? 2 : 1, 32, 32, 0),
                                   decay, Strength::random, false, 1);
      Vector& beta = *c.trials[0].beta;
      for (std::size_t t = 0; t < beta.size(); ++t) beta[t] = t % 509 < 2 ? .5 + .5 * beta[t] : 0;
      check_case(gpu, DType::bf16, c);
    }
    check_case(gpu, DType::bf16,
               seen_case(random, DType::bf16, recurrence_shape(delta, 1, 12300, 1, 1, 64, 64, 0), Decay::weak,
                         Strength::random, false, 1));
  }
}

TEST_CASE("recurrence on the GPU agrees with the oracle over 65,536 tokens", "[gpu][recurrence][large][slow]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(90);
  for (const bool delta : {false, true}) {
    check_case(gpu, DType::bf16,
               seen_case(random, DType::bf16, recurrence_shape(delta, 1, 65536, 1, 1, 32, 32, 0), Decay::random,
                         Strength::random, false, 1));
  }
}

TEST_CASE("recurrence on the GPU names what it cannot take", "[gpu][recurrence][errors]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const DeviceTensor qkv(DType::bf16, {1, 1, 4, 96}), g(DType::f32, {1, 1, 4, 1}), out(DType::bf16, {1, 1, 4, 32});
  const auto message = [&](const Recurrence& shape, const RecurrenceInputs& in) {
    RecurrenceSaved saved;
    try {
      recurrence_forward(gpu.ctx, shape, in, out, saved);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  const Recurrence shape{1, 1, 32, 32, 0, 32, 64, 1, true, 64};
  Recurrence wrong = shape;
  wrong.key_dim = 16;
  CHECK(contains(message(wrong, {qkv, g, {}, {}}), "equal and 32, 64 or 128, are 16 and 32"));
  wrong = shape;
  wrong.groups = 2;
  CHECK(contains(message(wrong, {qkv, g, {}, {}}), "groups should divide the heads, are 2 and 1"));
  wrong = shape;
  wrong.k_at = 70;
  CHECK(contains(message(wrong, {qkv, g, {}, {}}), "should hold the columns of q, k and v"));
  wrong = shape;
  wrong.k_at = 28;
  CHECK(contains(message(wrong, {qkv, g, {}, {}}), "multiples of 8"));
  CHECK(contains(message(shape, {qkv, {}, {}, {}}), "g should be"));
  CHECK(contains(message(shape, {qkv, g, out, {}}), "beta should be"));
}
