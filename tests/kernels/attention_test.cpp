// attention and qkv_rope against the oracle and finite differences: windows, sinks, grouped heads, odd lengths, many
// trials.
#include "kernels/attention.hpp"

#include "tests/kernels/support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;
using oracle::AttentionShape;

namespace {

struct Case {
  AttentionShape shape;
  std::vector<Ints> window;   // [trials][1]
  std::vector<Ints> sink_on;  // [trials][1], or empty: no sinks at all
  Trials qkv, sink, dout;
};

Case make_case(Random& random, const AttentionShape& s, const Ints& windows, const Ints& sinks) {
  Case c;
  c.shape = s;
  const auto trials = static_cast<std::int64_t>(windows.size());
  for (int w : windows) c.window.push_back({w});
  for (int on : sinks) c.sink_on.push_back({on});
  c.qkv = random.trials(trials, s.batch * s.length * s.width());
  c.sink = random.trials(trials, s.query);
  c.dout = random.trials(trials, s.batch * s.length * s.query * s.dim);
  return c;
}

template <class T>
struct Outputs {
  std::vector<std::vector<T>> out, lse, dqkv, dsink;
};

// Trials first .. first + p of the case, forward and backward.
template <class T>
Outputs<T> run(const Case& c, std::size_t first, std::int64_t p, std::int64_t gap, bool baseline) {
  const AttentionShape& s = c.shape;
  const Heads heads{s.query, s.kv, s.dim};
  Context ctx = context(baseline);
  const Memory<T> qkv({p, s.batch, s.length, s.width()}, gap, c.qkv, first);
  const Memory<T> dout({p, s.batch, s.length, s.query * s.dim}, gap, c.dout, first);
  const Memory<T> sink({p, s.query}, gap, c.sink, first);
  const Memory<std::int32_t> window({p}, gap, c.window, first);
  AttentionData data;
  data.window = window;
  const bool sinks = !c.sink_on.empty();
  const Memory<std::int32_t> sink_on({p}, gap, sinks ? c.sink_on : c.window, first);
  if (sinks) {
    data.sink = sink;
    data.sink_on = sink_on;
  }
  const Memory<T> out({p, s.batch, s.length, s.query * s.dim}, gap);
  const Memory<T> lse({p, s.batch, s.query, s.length}, gap);
  const Memory<T> dqkv({p, s.batch, s.length, s.width()}, gap);
  const Memory<T> dsink({p, s.query}, gap, Trials(c.qkv.size(), Vector(static_cast<std::size_t>(s.query))), first);
  attention_forward(ctx, heads, data, qkv, out, lse);
  attention_backward(ctx, heads, data, {}, qkv, out, lse, dout, dqkv, sinks ? dsink.tensor() : Tensor());
  out.check_fences();
  lse.check_fences();
  dqkv.check_fences();
  dsink.check_fences();
  return {out.all(), lse.all(), dqkv.all(), dsink.all()};
}

template <class T>
void check(const Case& c, bool baseline) {
  const auto trials = static_cast<std::int64_t>(c.qkv.size());
  const auto all = run<T>(c, 0, trials, 5, baseline);
  for (std::size_t p = 0; p < c.qkv.size(); ++p) {
    const std::int64_t window = c.window[p][0];
    CAPTURE(p, window, c.shape.length, c.shape.dim);
    const bool on = !c.sink_on.empty() && c.sink_on[p][0] != 0;
    const std::optional<Vector> sink = on ? std::optional(c.sink[p]) : std::nullopt;
    const auto expected = oracle::attention(c.qkv[p], c.shape, window, sink);
    const auto gradient = oracle::attention_backward(c.dout[p], c.qkv[p], c.shape, window, sink);
    CHECK(error(all.out[p], expected.out) < tolerance<T>);
    CHECK(error(all.lse[p], expected.lse) < tolerance<T>);
    CHECK(error(all.dqkv[p], gradient.dqkv) < tolerance<T>);
    // dsink is a sum of terms of both signs: its error is measured against theirs.
    CHECK(error(all.dsink[p], on ? gradient.dsink : Vector(static_cast<std::size_t>(c.shape.query))) <
          100 * tolerance<T>);
    if (trials > 1) {
      const auto alone = run<T>(c, p, 1, 1, baseline);
      CHECK(same_bits(all.out[p], alone.out[0]));
      CHECK(same_bits(all.dqkv[p], alone.dqkv[0]));
      CHECK(same_bits(all.dsink[p], alone.dsink[0]));
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("attention agrees with the oracle at odd lengths and windows", "[attention]", float, double) {
  const std::uint64_t seed = 11;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  for (int length : {1, 7, 16, 65}) {
    const Ints windows = {1, 2, std::max(1, length - 1), length, length + 1, 9999};
    check<TestType>(make_case(random, {2, length, 2, 2, 8}, windows, {}), baseline);
    check<TestType>(make_case(random, {1, length, 2, 1, 6}, windows, {1, 0, 1, 1, 0, 1}), baseline);
  }
}

TEMPLATE_TEST_CASE("attention agrees with the oracle over many blocks of keys", "[attention]", float, double) {
  const std::uint64_t seed = 12;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  check<TestType>(make_case(random, {1, 513, 2, 1, 32}, {8, 128, 512, 513}, {1, 0, 0, 1}), baseline);
  check<TestType>(make_case(random, {1, 130, 3, 3, 64}, {16, 17, 100}, {}), baseline);
  check<TestType>(make_case(random, {1, 70, 6, 2, 40}, {4, 33, 2147483647}, {0, 1, 0}), baseline);
}

TEST_CASE("attention's gradients are those of finite differences", "[attention]") {
  const std::uint64_t seed = 13;
  CAPTURE(seed);
  Random random(seed);
  for (int window : {1, 5, 19, 64}) {
    const AttentionShape s{1, 37, 4, 2, 8};
    Case c = make_case(random, s, {window}, {1});
    const auto result = run<double>(c, 0, 1, 0, false);
    const auto loss = [&] { return dot(run<double>(c, 0, 1, 0, false).out[0], c.dout[0]); };
    const auto of_qkv = [&](const Vector& x) { return c.qkv[0] = x, loss(); };
    const auto of_sink = [&](const Vector& x) { return c.sink[0] = x, loss(); };
    const Vector qkv = c.qkv[0];
    const Vector sink = c.sink[0];
    const Vector direction = random.normal(static_cast<std::int64_t>(qkv.size()));
    CHECK(difference_error(of_qkv, qkv, result.dqkv[0], direction) < 1e-7);
    c.qkv[0] = qkv;
    CHECK(difference_error(of_sink, sink, result.dsink[0], random.normal(s.query)) < 1e-7);
  }
}

TEST_CASE("attention stays exact where scores are far apart and passes on what is not a number", "[attention]") {
  Random random(14);
  Case c = make_case(random, {1, 100, 1, 1, 16}, {100}, {});
  for (double& x : c.qkv[0]) x *= 30;
  // Scores of some thousands carry rounding errors of 1e-12 (double) and 1e-3 (float) into the exponent.
  const auto expected = oracle::attention(c.qkv[0], c.shape, 100, std::nullopt);
  CHECK(error(run<double>(c, 0, 1, 0, false).out[0], expected.out) < 1e-11);
  CHECK(error(run<float>(c, 0, 1, 0, false).out[0], expected.out) < 1e-3);
  c.qkv[0][50 * 48] = std::nan("");  // query 50
  const auto poisoned = run<float>(c, 0, 1, 0, false).out[0];
  CHECK(std::isnan(poisoned[50 * 16]));
  CHECK(!std::isnan(poisoned[49 * 16]));
}

TEMPLATE_TEST_CASE("rope turns queries and keys, leaves values, and its backward is the transpose", "[rope]", float,
                   double) {
  using T = TestType;
  const std::uint64_t seed = 15;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  Context ctx = context(baseline);
  for (std::int64_t length : {1, 7, 65}) {
    for (std::int64_t dim : {2, 6, 64}) {
      const AttentionShape s{2, length, 4, 2, dim};
      const Heads heads{s.query, s.kv, s.dim};
      const Trials x = random.trials(3, s.batch * s.length * s.width());
      const std::vector<Ints> on = {{1}, {0}, {1}};
      const Memory<T> cos({1, length, dim / 2}, 3), sin({1, length, dim / 2}, 3);
      rope_table(1e4, cos, sin);
      const Memory<std::int32_t> rope_on({3}, 2, on, 0);
      for (int sign : {1, -1}) {
        const Memory<T> qkv({3, s.batch, s.length, s.width()}, 3, x, 0);
        if (sign == 1) {
          qkv_rope_forward(ctx, heads, {cos, sin, rope_on}, qkv);
        } else {
          qkv_rope_backward(ctx, heads, {cos, sin, rope_on}, qkv);
        }
        qkv.check_fences();
        for (std::size_t p = 0; p < 3; ++p) {
          Vector expected = x[p];
          if (on[p][0] != 0) oracle::rope(expected, s, 1e4, sign);
          CHECK(error(qkv.values(static_cast<std::int64_t>(p)), expected) < tolerance<T>);
        }
        const Memory<T> one({1, s.batch, s.length, s.width()}, 1, x, 2);
        const Memory<std::int32_t> one_on({1}, 1, on, 2);
        sign == 1 ? qkv_rope_forward(ctx, heads, {cos, sin, one_on}, one)
                  : qkv_rope_backward(ctx, heads, {cos, sin, one_on}, one);
        CHECK(same_bits(one.values(0), qkv.values(2)));
      }
    }
  }
}
