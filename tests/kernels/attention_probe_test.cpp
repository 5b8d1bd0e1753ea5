// attention_probe against its oracle and attention_forward: windows with first keys, heads switched off, sinks, grouped
// heads, statistics known in closed form, ties, values that are not numbers, wrong tensors.
#include "kernels/attention_probe.hpp"

#include "kernels/attention.hpp"
#include "tests/kernels/attention_probe_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
using hylas::oracle::AttentionShape;

namespace {

template <class T>
Trials as_doubles(const std::vector<std::vector<T>>& values) {
  Trials v;
  for (const auto& trial : values) v.emplace_back(trial.begin(), trial.end());
  return v;
}

// Trials first .. first + p of the case.
template <class T>
ProbeOutputs run(const ProbeCase& c, std::size_t first, std::int64_t p, std::int64_t gap) {
  const AttentionShape& s = c.shape;
  const Heads heads{s.query, s.kv, s.dim};
  const std::int64_t n = c.queries();
  Context ctx;
  const Memory<T> qkv({p, s.batch, s.length, s.width()}, gap, c.qkv, first);
  const Memory<T> sink({p, s.query}, gap, c.sink, first);
  const auto one = [&](const std::vector<Ints>& values) { return values.empty() ? c.window : values; };
  const Memory<std::int32_t> window({p}, gap, c.window, first);
  const Memory<std::int32_t> first_keys({p}, gap, one(c.first_keys), first);
  const Memory<std::int32_t> sink_on({p}, gap, one(c.sink_on), first);
  const std::vector<Ints> all_on(c.window.size(), Ints(at(s.query), 1));
  const Memory<std::int32_t> head_on({p, s.query}, gap, c.head_on.empty() ? all_on : c.head_on, first);
  const Memory<std::int32_t> query({1, n}, gap, c.query, 0), answer({1, n}, gap, c.answer, 0);
  AttentionProbeData data;
  data.window = window;
  if (!c.first_keys.empty()) data.first_keys = first_keys;
  if (!c.sink_on.empty()) data.sink = sink;
  if (!c.sink_on.empty()) data.sink_on = sink_on;
  if (!c.head_on.empty()) data.head_on = head_on;
  const Memory<T> out({p, s.batch, s.length, s.query * s.dim}, gap);
  const Memory<T> statistics({p, s.query, n, ProbeStatistic::count}, gap);
  const Memory<std::int32_t> top({p, s.query, n}, gap);
  attention_probe_forward(ctx, heads, data, qkv, out);
  attention_probe_statistics(ctx, heads, data, {query, answer}, qkv, statistics, top);
  out.check_fences();
  statistics.check_fences();
  top.check_fences();
  return {as_doubles(out.all()), as_doubles(statistics.all()), as_doubles(top.all())};
}

template <class T>
void check(const ProbeCase& c) {
  const ProbeOutputs all = run<T>(c, 0, c.trials(), 5);
  for (std::size_t p = 0; p < c.qkv.size(); ++p) {
    CAPTURE(p, c.shape.length, c.shape.dim, c.shape.query, c.shape.kv, c.mask(p).window, c.mask(p).first_keys);
    CHECK(error(all.out[p], expected_out(c, p)) < tolerance<T>);
    check_statistics(c, p, all.statistics[p], all.top[p], tolerance<T>);
    if (c.trials() == 1) continue;
    const ProbeOutputs alone = run<T>(c, p, 1, 1);
    CHECK(same_bits(all.out[p], alone.out[0]));
    CHECK(same_bits(all.statistics[p], alone.statistics[0]));
    CHECK(same_bits(all.top[p], alone.top[0]));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("attention_probe agrees with the oracle at odd lengths, windows and first keys",
                   "[attention][probe]", float, double) {
  const std::uint64_t seed = 61;
  CAPTURE(seed);
  Random random(seed);
  for (int length : {1, 7, 33}) {
    for (int first_keys : {0, 1, 4, length + 5}) {
      const Ints windows = {1, std::max(1, length - 1), length, length + 1, 2147483647};
      const Ints first(windows.size(), first_keys);
      check<TestType>(probe_case(random, {2, length, 2, 2, 6}, windows, first, {}, false, 9));
      check<TestType>(probe_case(random, {1, length, 4, 2, 8}, {3}, {first_keys}, {1}, true, 5));
      check<TestType>(probe_case(random, {2, length, 3, 1, 5}, {3, 2, 5}, {first_keys, 2, 0}, {1, 0, 1}, true, 9));
    }
  }
}

TEMPLATE_TEST_CASE("attention_probe agrees with the oracle over many keys", "[attention][probe]", float, double) {
  const std::uint64_t seed = 62;
  CAPTURE(seed);
  Random random(seed);
  check<TestType>(probe_case(random, {1, 513, 2, 1, 32}, {512, 100, 514}, {1, 4, 518}, {1, 0, 1}, false, 60));
  check<TestType>(probe_case(random, {1, 130, 2, 1, 128}, {17, 1, 130}, {}, {}, true, 20));
}

TEMPLATE_TEST_CASE("attention_probe without first keys and switches is attention_forward", "[attention][probe]", float,
                   double) {
  using T = TestType;
  const std::uint64_t seed = 63;
  CAPTURE(seed);
  Random random(seed);
  for (const bool sinks : {false, true}) {
    const AttentionShape s{2, 100, 4, 2, 32};
    const ProbeCase c = probe_case(random, s, {1, 64, 100}, {}, sinks ? Ints{1, 0, 1} : Ints{}, false, 1);
    const Trials out = run<T>(c, 0, 3, 0).out;
    Context ctx;
    const Memory<T> qkv({3, s.batch, s.length, s.width()}, 0, c.qkv, 0), sink({3, s.query}, 0, c.sink, 0);
    const Memory<std::int32_t> window({3}, 0, c.window, 0), sink_on({3}, 0, sinks ? c.sink_on : c.window, 0);
    const Memory<T> same({3, s.batch, s.length, s.query * s.dim}, 0), lse({3, s.batch, s.query, s.length}, 0);
    AttentionData data;
    data.window = window;
    if (sinks) data.sink = sink;
    if (sinks) data.sink_on = sink_on;
    attention_forward(ctx, {s.query, s.kv, s.dim}, data, qkv, same, lse);
    for (std::int64_t p = 0; p < 3; ++p) {
      CHECK(error(same.values(p), out[at(p)]) < tolerance<T>);
    }
  }
}

TEST_CASE("attention_probe: as many first keys as positions make any window full attention", "[attention][probe]") {
  Random random(64);
  ProbeCase c = probe_case(random, {2, 50, 2, 1, 8}, {1, 7, 50, 1000}, {50, 55, 0, 3}, {}, false, 40);
  for (std::size_t p = 1; p < 4; ++p) c.qkv[p] = c.qkv[0];
  const ProbeOutputs all = run<float>(c, 0, 4, 0);
  for (std::size_t p = 1; p < 4; ++p) {
    CHECK(same_bits(all.out[0], all.out[p]));
    CHECK(same_bits(all.statistics[0], all.statistics[p]));
    CHECK(same_bits(all.top[0], all.top[p]));
  }
}

TEST_CASE("attention_probe: equal scores give equal weights, ln(keys) of entropy and the lowest key",
          "[attention][probe]") {
  Random random(65);
  const AttentionShape s{1, 40, 1, 1, 4};
  // Trial 1 has a sink of logit 0: it takes the share of one key of the weights and none of the entropy.
  ProbeCase c = probe_case(random, s, {5, 5}, {3, 3}, {0, 1}, false, 4);
  c.sink[1][0] = 0;
  for (auto& qkv : c.qkv) {
    for (std::int64_t t = 0; t < s.length; ++t) std::fill_n(qkv.begin() + t * s.width(), s.dim, 0.0);  // queries
  }
  c.query[0] = {39, 6, 2, 0};
  c.answer[0] = {1, 3, 2, -1};  // among the first keys, in the window (2 .. 6), the query itself, none
  const ProbeOutputs all = run<double>(c, 0, 2, 0);
  for (std::size_t p = 0; p < 2; ++p) {
    const double sink = p == 1 ? 1 : 0;
    const double keys[4] = {8, 7, 3, 1};
    for (std::size_t i = 0; i < 4; ++i) {
      CAPTURE(p, i);
      const double* statistics = all.statistics[p].data() + i * ProbeStatistic::count;
      const double share = 1 / (keys[i] + sink);
      CHECK(statistics[ProbeStatistic::keys] == keys[i]);
      CHECK(std::abs(statistics[ProbeStatistic::on_answer] - (i == 3 ? 0 : share)) < 1e-15);
      CHECK(std::abs(statistics[ProbeStatistic::on_previous] - (i == 3 ? 0 : share)) < 1e-15);
      CHECK(std::abs(statistics[ProbeStatistic::entropy] - std::log(keys[i])) < 1e-14);
      CHECK(all.top[p][i] == 0);
    }
  }
  // An answer and a previous position outside the mask weigh nothing.
  c.window = one_each({1, 1});
  c.first_keys = one_each({0, 2});
  c.answer[0] = {38, 5, 1, 0};
  const ProbeOutputs cut = run<double>(c, 0, 2, 0);
  CHECK(cut.statistics[0] == Vector{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1});
  CHECK(cut.statistics[1][ProbeStatistic::on_answer] == 0);
  CHECK(cut.statistics[1][2 * ProbeStatistic::count + ProbeStatistic::on_previous] == 0.25);  // key 1 of 0, 1, 2, sink
}

TEST_CASE("attention_probe finds in f32 the largest of the chains of fused multiply-adds", "[attention][probe]") {
  Random random(68);
  for (int dim : {6, 32, 64}) {
    ProbeCase c = probe_case(random, {1, 90, 1, 1, dim}, {90}, {}, {}, false, 80);
    make_near_ties(random, c);
    const Vector top = run<float>(c, 0, 1, 0).top[0];
    for (std::size_t i = 0; i < top.size(); ++i) {
      CAPTURE(dim, i);
      CHECK(top[i] == chained_top(c, 0, c.query[0][i]));
    }
  }
}

TEST_CASE("attention_probe stays exact where scores are far apart and keeps what is not a number to its readers",
          "[attention][probe]") {
  Random random(66);
  ProbeCase c = probe_case(random, {1, 60, 1, 1, 16}, {10}, {2}, {1}, false, 1);
  for (double& x : c.qkv[0]) x *= 30;
  // Scores of some thousands carry rounding errors of 1e-12 (double) and 1e-3 (float) into the exponent.
  CHECK(error(run<double>(c, 0, 1, 0).out[0], expected_out(c, 0)) < 1e-11);
  CHECK(error(run<float>(c, 0, 1, 0).out[0], expected_out(c, 0)) < 1e-3);
  // A sink far above every score takes all weight and leaves the entropy as it is.
  c.sink[0][0] = 1e6;
  const ProbeOutputs drained = run<float>(c, 0, 1, 0);
  CHECK(error(drained.out[0], Vector(60 * 16)) == 0);
  CHECK(std::isfinite(drained.statistics[0][ProbeStatistic::entropy]));

  const double nan = std::nan("");
  c.sink_on.clear();
  c.query[0] = {49, 50, 55, 59};
  c.answer[0] = {40, 48, 50, 0};
  c.qkv[0][30 * 48 + 16] = nan;  // a component of key 30, seen by queries 30 .. 39
  c.qkv[0][50 * 48] = nan;       // of query 50
  const ProbeOutputs poisoned = run<float>(c, 0, 1, 0);
  for (std::int64_t t = 0; t < 60; ++t) {
    CAPTURE(t);
    CHECK(std::isnan(poisoned.out[0][at(t * 16)]) == ((t >= 30 && t < 40) || t == 50));
  }
  const Vector& statistics = poisoned.statistics[0];
  CHECK(std::isfinite(statistics[ProbeStatistic::entropy]));
  CHECK(std::isnan(statistics[ProbeStatistic::count + ProbeStatistic::entropy]));
  CHECK(std::isnan(statistics[ProbeStatistic::count + ProbeStatistic::on_answer]));
  CHECK(std::isfinite(statistics[2 * ProbeStatistic::count + ProbeStatistic::on_answer]));
  CHECK(poisoned.top[0][1] == -1);
  // A head that is off writes zeros whatever there is.
  c.head_on = {{0}};
  CHECK(error(run<float>(c, 0, 1, 0).out[0], Vector(60 * 16)) == 0);
}

TEST_CASE("attention_probe takes 65,536 positions", "[attention][probe]") {
  Random random(67);
  const AttentionShape s{1, 65536, 1, 1, 4};
  const ProbeCase c = probe_case(random, s, {20}, {4}, {}, false, 3);
  const ProbeOutputs cut = run<float>(c, 0, 1, 0);
  for (std::int64_t t : {0, 19, 20, 24, 40000, 65535}) {
    CAPTURE(t);
    const auto begin = cut.out[0].begin() + t * s.dim;
    CHECK(error(Vector(begin, begin + s.dim), oracle_row(c, 0, 0, t, -1).out) < tolerance<float>);
  }
  ProbeCase full = c;
  full.window = one_each({65536});
  full.head_on = {{0}};
  check_statistics(full, 0, run<float>(full, 0, 1, 0).statistics[0], run<float>(full, 0, 1, 0).top[0],
                   tolerance<float>);
}

TEST_CASE("attention_probe names wrong tensors and values", "[attention][probe][errors]") {
  Context ctx;
  const Heads heads{2, 1, 4};
  const Memory<float> qkv({1, 2, 4, 16}, 0, Trials{Vector(128, 1.0)}, 0), out({1, 2, 4, 8}, 0), thin({1, 2, 4, 4}, 0);
  const Memory<float> statistics({1, 2, 3, 4}, 0), sink({1, 2}, 0);
  const Memory<double> doubles({1, 2, 4, 8}, 0);
  const Memory<std::int32_t> one({1}, 0, std::vector<Ints>{{1}}, 0), zero({1}, 0, std::vector<Ints>{{0}}, 0);
  const Memory<std::int32_t> below({1}, 0, std::vector<Ints>{{-1}}, 0), two({1, 2}, 0, std::vector<Ints>{{1, 1}}, 0);
  const Memory<std::int32_t> query({1, 3}, 0, std::vector<Ints>{{0, 7, 3}}, 0), top({1, 2, 3}, 0), flat({3}, 0);
  const Memory<std::int32_t> beyond({1, 3}, 0, std::vector<Ints>{{0, 8, 3}}, 0);
  const Memory<std::int32_t> none({1, 3}, 0, std::vector<Ints>{{-1, -1, -1}}, 0);
  const AttentionProbeData good{one, zero, sink, one, two};
  const auto forward = [&](const Heads& h, const AttentionProbeData& data, const Tensor& to) {
    try {
      attention_probe_forward(ctx, h, data, qkv, to);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto count = [&](const ProbeQueries& queries, const Tensor& to, const Tensor& best) {
    try {
      attention_probe_statistics(ctx, heads, good, queries, qkv, to, best);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto names = [](const std::string& text, const std::string& part) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  };
  CHECK(forward(heads, good, out).empty());
  names(forward({3, 2, 4}, good, out), "divide the query heads");
  names(forward({2, 2, 4}, good, out), "qkv should be [1, any, any, 24]");
  names(forward(heads, good, thin), "out should be [1, 2, 4, 8], is f32 [1, 2, 4, 4]");
  names(forward(heads, good, doubles), "out should be f32, is f64");
  names(forward(heads, {{}, zero, sink, one, two}, out), "window is absent");
  names(forward(heads, {zero, zero, sink, one, two}, out), "window of trial 0 should be at least 1, is 0");
  names(forward(heads, {one, below, sink, one, two}, out), "first_keys of trial 0 should be at least 0, is -1");
  names(forward(heads, {one, two, sink, one, two}, out), "first_keys should be [1]");
  names(forward(heads, {one, zero, one, one, two}, out), "sink should be f32");
  names(forward(heads, {one, zero, sink, two, two}, out), "sink_on should be [1]");
  names(forward(heads, {one, zero, sink, one, one}, out), "head_on should be [1, 2]");
  CHECK(count({query, none}, statistics, top).empty());
  names(count({flat, none}, statistics, top), "query should be [1, any]");
  names(count({beyond, none}, statistics, top), "query 1 should be in [0, 8), is 8");
  names(count({query, {}}, statistics, top), "answer is absent");
  names(count({query, query}, statistics, top), "answer 1 should be in [-1, 4), is 7");
  names(count({query, none}, out, top), "statistics should be [1, 2, 3, 4]");
  names(count({query, none}, statistics, none), "top should be [1, 2, 3]");
  CHECK(count({}, {}, {}).empty());  // no queries: nothing to do
}
