// recurrence on the CPU against the naive recurrence and its own backward (tests/oracle/recurrence.hpp), which in turn
// is held against finite differences.
#include "kernels/recurrence.hpp"

#include "tests/kernels/recurrence_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

// Every output of every trial in double: 1e-10 forward, gradients 1e-9 of max(1, |gradient|).
void check_double(const RecurrenceCase& c, std::int64_t chunk, bool baseline = false) {
  const oracle::RecurrenceShape& s = c.shape;
  const auto all = run_recurrence<double>(c, chunk, 0, static_cast<std::int64_t>(c.trials.size()), 5, baseline);
  for (std::size_t p = 0; p < c.trials.size(); ++p) {
    CAPTURE(p, chunk, s.length, s.delta, s.heads, s.groups, s.key_dim, s.value_dim);
    const auto d = oracle::recurrence_backward(s, c.trials[p], c.dout[p]);
    CHECK(largest_error(all.out[p], oracle::recurrence(s, c.trials[p])) < 1e-10);
    CHECK(largest_error(written_columns(s, all.dqkv[p]), written_columns(s, d.dqkv)) < 1e-9);
    for (double x : written_columns(s, all.dqkv[p], true)) REQUIRE(std::isnan(x));
    if (!c.constant_decay) CHECK(largest_error(all.dg[p], d.dg) < 1e-9);
    if (c.trials[p].beta) CHECK(largest_error(all.dbeta[p], d.dbeta) < 1e-9);
    if (c.trials[p].skip) {
      Vector expected = d.dskip;
      for (double& x : expected) x += poison_before;
      CHECK(largest_error(all.dskip[p], expected) < 1e-9);
    }
  }
}

}  // namespace

TEST_CASE("the naive recurrence's own backward is that of finite differences", "[recurrence]") {
  const std::uint64_t seed = 61;
  CAPTURE(seed);
  Random random(seed);
  for (bool delta : {false, true}) {
    for (Decay decay : {Decay::weak, Decay::random}) {
      for (std::int64_t groups : {1, 2}) {
        const auto s = recurrence_shape(delta, 2, 9, 4, groups, 3, 5);
        CAPTURE(delta, name_of(decay), groups);
        const RecurrenceCase c = recurrence_case(random, s, decay, Strength::random, true, 1);
        const auto d = oracle::recurrence_backward(s, c.trials[0], c.dout[0]);
        const auto loss_with = [&](auto&& change) {
          return [&, change](const Vector& x) {
            oracle::RecurrenceInput in = c.trials[0];
            change(in) = x;
            return dot(oracle::recurrence(s, in), c.dout[0]);
          };
        };
        const auto differs = [&](auto&& member, const Vector& gradient) {
          oracle::RecurrenceInput in = c.trials[0];
          const Vector x = member(in);
          return difference_error(loss_with(member), x, gradient, random.normal(static_cast<std::int64_t>(x.size())));
        };
        CHECK(differs([](auto& in) -> Vector& { return in.qkv; }, d.dqkv) < 1e-7);
        CHECK(differs([](auto& in) -> Vector& { return in.g; }, d.dg) < 1e-7);
        CHECK(differs([](auto& in) -> Vector& { return *in.beta; }, d.dbeta) < 1e-7);
        CHECK(differs([](auto& in) -> Vector& { return *in.skip; }, d.dskip) < 1e-7);
      }
    }
  }
}

TEST_CASE("recurrence in chunks is the naive one: every decay and write strength", "[recurrence]") {
  const std::uint64_t seed = 62;
  CAPTURE(seed);
  Random random(seed);
  const std::int64_t chunk = GENERATE(1, 16, 64);
  for (bool delta : {false, true}) {
    for (Decay decay : {Decay::none, Decay::weak, Decay::strong, Decay::half_strong, Decay::random, Decay::constant}) {
      for (Strength strength : {Strength::absent, Strength::zero, Strength::one, Strength::random}) {
        CAPTURE(name_of(decay), static_cast<int>(strength));
        // T: two chunks of 64 and a part of one, odd for 16 as well
        check_double(recurrence_case(random, recurrence_shape(delta, 1, 147, 2, 2, 8, 8), decay, strength, false, 1),
                     chunk);
      }
    }
  }
}

TEST_CASE("recurrence in chunks is the naive one: layouts, odd sizes, groups, many trials", "[recurrence]") {
  const std::uint64_t seed = 63;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  for (bool delta : {false, true}) {
    for (std::int64_t length : {1, 2, 17, 70}) {
      for (std::int64_t chunk : {1, 5, 16, 33, 64, 1000}) {
        const auto odd = recurrence_shape(delta, 2, length, 4, 2, 5, 7);
        check_double(recurrence_case(random, odd, Decay::random, Strength::random, true, 2), chunk, baseline);
      }
    }
    // the Mamba-2 form: one group, Delta as write strength, skip; and wide heads
    check_double(
        recurrence_case(random, recurrence_shape(delta, 1, 90, 3, 1, 40, 33), Decay::random, Strength::random, true, 2),
        32, baseline);
    // the Lightning form: one decay a head, no write strength
    check_double(recurrence_case(random, recurrence_shape(delta, 2, 130, 3, 3, 17, 20, 0), Decay::constant,
                                 Strength::absent, false, 2),
                 64, baseline);
  }
}

TEST_CASE("recurrence in float keeps what the naive one says in double, dg under strong decay too", "[recurrence]") {
  const std::uint64_t seed = 64;
  CAPTURE(seed);
  Random random(seed);
  const bool baseline = GENERATE(false, true);
  for (bool delta : {false, true}) {
    for (Decay decay : {Decay::none, Decay::weak, Decay::strong, Decay::half_strong, Decay::random}) {
      for (std::int64_t chunk : {16, 64, 256}) {
        CAPTURE(delta, name_of(decay), chunk);
        const auto s = recurrence_shape(delta, 1, 300, 2, 1, 16, 16);
        const RecurrenceCase c = recurrence_case(random, s, decay, Strength::random, true, 1);
        const auto all = run_recurrence<float>(c, chunk, 0, 1, 0, baseline);
        const auto d = oracle::recurrence_backward(s, c.trials[0], c.dout[0]);
        // Norms of errors. A few roundings of 6e-8 a product, sums of up to 300 terms, and states that carry them over
        // a sequence. dg is as exact as the others where it is 1e-9 of them: the sums hold nothing that cancels.
        CHECK(error(all.out[0], oracle::recurrence(s, c.trials[0])) < 2e-6);
        CHECK(error(written_columns(s, all.dqkv[0]), written_columns(s, d.dqkv)) < 2e-6);
        CHECK(error(all.dg[0], d.dg) < 1e-5);
        CHECK(error(all.dbeta[0], d.dbeta) < 1e-5);
      }
    }
  }
}

TEMPLATE_TEST_CASE("a trial of recurrence has the same bits alone, among others and without AVX-512", "[recurrence]",
                   float, double) {
  using T = TestType;
  const std::uint64_t seed = 65;
  CAPTURE(seed);
  Random random(seed);
  for (bool delta : {false, true}) {
    const auto s = recurrence_shape(delta, 2, 150, 4, 2, 24, 20);
    const RecurrenceCase c = recurrence_case(random, s, Decay::random, Strength::random, true, 3);
    const auto all = run_recurrence<T>(c, 64, 0, 3, 7);
    const auto baseline = run_recurrence<T>(c, 64, 0, 3, 7, true);
    for (std::size_t p = 0; p < 3; ++p) {
      CAPTURE(delta, p);
      const auto alone = run_recurrence<T>(c, 64, p, 1, 1);
      for (auto member : {&RecurrenceOutputs<T>::out, &RecurrenceOutputs<T>::dqkv, &RecurrenceOutputs<T>::dg,
                          &RecurrenceOutputs<T>::dbeta, &RecurrenceOutputs<T>::dskip}) {
        const auto values = [&](const std::vector<T>& v) {
          return v.size() == all.dqkv[p].size() ? written_columns(s, v) : v;
        };
        CHECK(same_bits(values((all.*member)[p]), values((alone.*member)[0])));
#if defined(__GNUC__) && !defined(__clang__)
        CHECK(same_bits(values((all.*member)[p]), values((baseline.*member)[p])));
#endif
      }
    }
  }
}

TEMPLATE_TEST_CASE("recurrence is finite at the extremes, and what lies behind a full decay is forgotten",
                   "[recurrence]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 66;
  CAPTURE(seed);
  Random random(seed);
  for (bool delta : {false, true}) {
    const auto s = recurrence_shape(delta, 1, 100, 1, 1, 8, 8);
    RecurrenceCase c = recurrence_case(random, s, Decay::none, Strength::one, false, 1);
    // Decays that no float holds, up to infinity, in the middle of chunks and at their ends.
    for (std::size_t t : {20U, 31U, 32U, 63U, 64U, 65U}) c.trials[0].g[t] = -1e4;
    c.trials[0].g[40] = -INFINITY;
    c.trials[0].g[64] = -INFINITY;
    const auto whole = run_recurrence<T>(c, 32, 0, 1, 0);
    for (const auto* values : {&whole.out[0], &whole.dg[0], &whole.dbeta[0]}) {
      for (T x : *values) REQUIRE(std::isfinite(x));
    }
    for (T x : written_columns(s, whole.dqkv[0])) REQUIRE(std::isfinite(x));
    // Other tokens before position 65 do not move what comes after.
    RecurrenceCase other = c;
    for (std::size_t i = 0; i < 65 * at(s.width); ++i) other.trials[0].qkv[i] = -c.trials[0].qkv[i];
    const auto changed = run_recurrence<T>(other, 32, 0, 1, 0);
    const auto tail = [](const std::vector<T>& v) { return std::vector<T>(v.begin() + 65 * 8, v.end()); };
    CHECK(same_bits(tail(whole.out[0]), tail(changed.out[0])));
    CHECK(error(whole.dg[0], oracle::recurrence_backward(s, c.trials[0], c.dout[0]).dg) < tolerance<T> * 10);
  }
}

TEST_CASE("recurrence forms no output of a query and a key that comes after it", "[recurrence]") {
  const std::uint64_t seed = 67;
  CAPTURE(seed);
  Random random(seed);
  const auto s = recurrence_shape(false, 1, 80, 1, 1, 8, 8);
  RecurrenceCase c = recurrence_case(random, s, Decay::weak, Strength::absent, false, 1);
  // Query 3 and key 5 overflow as a product.
  for (std::int64_t i = 0; i < s.key_dim; ++i) {
    c.trials[0].qkv[at(3 * s.width + s.q_at + i)] = 1e25;
    c.trials[0].qkv[at(5 * s.width + s.k_at + i)] = 1e25;
  }
  const auto result = run_recurrence<float>(c, 128, 0, 1, 0);
  CHECK(error(result.out[0], oracle::recurrence(s, c.trials[0])) < 2e-6);
}

TEST_CASE("recurrence leaves the thread's treatment of denormal numbers as it was", "[recurrence]") {
  Random random(69);
  const RecurrenceCase c =
      recurrence_case(random, recurrence_shape(true, 1, 40, 1, 1, 8, 8), Decay::random, Strength::one, false, 1);
  const volatile float small = 1e-30F;
  CHECK(small * 1e-10F > 0);
  (void)run_recurrence<float>(c, 16, 0, 1, 0);
  CHECK(small * 1e-10F > 0);
}

TEST_CASE("recurrence names wrong tensors with what was expected", "[recurrence][errors]") {
  Context ctx;
  RecurrenceSaved saved;
  const Memory<float> qkv({1, 2, 5, 12}, 0), g({1, 2, 5, 2}, 0), out({1, 2, 5, 4}, 0), constant({1, 2}, 0);
  const Recurrence shape{2, 1, 4, 2, 0, 4, 8, 1, true, 4};
  const auto message = [&](const Recurrence& r, const RecurrenceInputs& in, const Tensor& o) {
    try {
      recurrence_forward(ctx, r, in, o, saved);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  Recurrence wrong = shape;
  wrong.groups = 3;
  CHECK(contains(message(wrong, {qkv, g, {}, {}}, out), "groups should divide the heads, are 3 and 2"));
  wrong = shape;
  wrong.v_at = 9;
  CHECK(contains(message(wrong, {qkv, g, {}, {}}, out), "v's columns 9 .. 13 should lie in the 12 of qkv"));
  wrong = shape;
  wrong.chunk = 0;
  CHECK(contains(message(wrong, {qkv, g, {}, {}}, out), "chunk should be at least 1"));
  CHECK(contains(message(shape, {qkv, {}, {}, {}}, out), "g is absent"));
  CHECK(contains(message(shape, {qkv, g, constant, {}}, out), "beta should be [1, 2, 5, 2], is f32 [1, 2]"));
  CHECK(contains(message(shape, {qkv, g, {}, {}}, qkv), "out should be [1, 2, 5, 4]"));
  CHECK_THROWS_AS(recurrence_backward(ctx, shape, {qkv, g, {}, {}}, {}, out, {qkv, g, {}, {}}), std::invalid_argument);
}

TEST_CASE("recurrence holds over 65,536 tokens", "[recurrence][slow]") {
  const std::uint64_t seed = 68;
  CAPTURE(seed);
  Random random(seed);
  for (bool delta : {false, true}) {
    const auto s = recurrence_shape(delta, 1, 65536, 2, 1, 8, 8);
    const RecurrenceCase c = recurrence_case(random, s, Decay::random, Strength::random, false, 1);
    check_double(c, 64);
    const auto single = run_recurrence<float>(c, 64, 0, 1, 0);
    CHECK(error(single.out[0], oracle::recurrence(s, c.trials[0])) < 2e-6);
  }
}
