// attention_probe on the GPU: against the oracle in fp32 and bf16, against the CPU's bits for the largest weight,
// against attention_forward; windows with first keys, heads switched off, sinks, grouped heads, odd lengths and head
// dims.
//   build/tests/test_kernels "[.probe_bench]"   prints milliseconds
#include <chrono>
#include <cstdio>

#include "kernels/backends.hpp"
#include "tests/kernels/attention_probe_support.hpp"
#include "tests/kernels/cuda_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
using hylas::oracle::AttentionShape;

namespace {

// On the GPU where dtype is f32 or bf16; what the device does not see of the case is rounded away.
ProbeCase gpu_case(DType dtype, ProbeCase c) {
  c.qkv = as_seen(dtype, std::move(c.qkv));
  return c;
}

// The tensors of trials first .. first + p of a case, with `gap` elements between the trials.
struct Inputs {
  DeviceTensor qkv, sink, window, first_keys, sink_on, head_on, query, answer;
  AttentionProbeData data;
  Heads heads;

  Inputs(DType dtype, const ProbeCase& c, std::size_t first, std::int64_t p, std::int64_t gap)
      : qkv(dtype, {p, c.shape.batch, c.shape.length, c.shape.width()}, c.qkv, first, gap),
        sink(DType::f32, {p, c.shape.query}, c.sink, first, 3),
        window(DType::i32, {p}, c.window, first, 3),
        first_keys(DType::i32, {p}, c.first_keys.empty() ? c.window : c.first_keys, first, 2),
        sink_on(DType::i32, {p}, c.sink_on.empty() ? c.window : c.sink_on, first, 1),
        head_on(DType::i32, {p, c.shape.query},
                c.head_on.empty() ? std::vector<Ints>(c.window.size(), Ints(at(c.shape.query), 1)) : c.head_on, first,
                4),
        query(DType::i32, {1, c.queries()}, c.query),
        answer(DType::i32, {1, c.queries()}, c.answer),
        heads{c.shape.query, c.shape.kv, c.shape.dim} {
    data.window = window;
    if (!c.first_keys.empty()) data.first_keys = first_keys;
    if (!c.sink_on.empty()) data.sink = sink;
    if (!c.sink_on.empty()) data.sink_on = sink_on;
    if (!c.head_on.empty()) data.head_on = head_on;
  }
};

ProbeOutputs run(Gpu& gpu, DType dtype, const ProbeCase& c, std::size_t first, std::int64_t p, std::int64_t gap) {
  const AttentionShape& s = c.shape;
  const Inputs in(dtype, c, first, p, gap);
  const DeviceTensor out(dtype, {p, s.batch, s.length, s.query * s.dim}, gap);
  const DeviceTensor statistics(DType::f32, {p, s.query, c.queries(), ProbeStatistic::count}, 5);
  const DeviceTensor top(DType::i32, {p, s.query, c.queries()}, 3);
  attention_probe_forward(gpu.ctx, in.heads, in.data, in.qkv, out);
  attention_probe_statistics(gpu.ctx, in.heads, in.data, {in.query, in.answer}, in.qkv, statistics, top);
  for (const DeviceTensor* t : {&out, &statistics, &top}) t->check_fences();
  return {out.all(), statistics.all(), top.all()};
}

// The positions of the largest weights as the CPU finds them in f32.
std::vector<std::vector<std::int32_t>> top_on_cpu(const ProbeCase& c) {
  const AttentionShape& s = c.shape;
  const std::int64_t p = c.trials(), n = c.queries();
  Context ctx;
  const Memory<float> qkv({p, s.batch, s.length, s.width()}, 0, c.qkv, 0), statistics({p, s.query, n, 4}, 0);
  const Memory<std::int32_t> window({p}, 0, c.window, 0), query({1, n}, 0, c.query, 0), answer({1, n}, 0, c.answer, 0);
  const Memory<std::int32_t> first_keys({p}, 0, c.first_keys.empty() ? c.window : c.first_keys, 0);
  const Memory<std::int32_t> top({p, s.query, n}, 0);
  AttentionProbeData data;
  data.window = window;
  if (!c.first_keys.empty()) data.first_keys = first_keys;
  attention_probe_statistics(ctx, {s.query, s.kv, s.dim}, data, {query, answer}, qkv, statistics, top);
  return top.all();
}

// Weights are f32 on both paths. Scores of some units carry rounding errors of a few 1e-7 into the exponent; bf16
// outputs are rounded once, by 2^-9 of each at most.
double out_limit(DType dtype) {
  return dtype == DType::bf16 ? 2.1e-3 : 4e-6;
}
constexpr double statistics_limit = 5e-6;

void check(Gpu& gpu, DType dtype, const ProbeCase& any) {
  const ProbeCase c = gpu_case(dtype, any);
  const ProbeOutputs all = run(gpu, dtype, c, 0, c.trials(), 64);
  const auto on_cpu = top_on_cpu(c);
  for (std::size_t p = 0; p < c.window.size(); ++p) {
    const AttentionShape& s = c.shape;
    CAPTURE(p, s.batch, s.length, s.query, s.kv, s.dim, c.mask(p).window, c.mask(p).first_keys);
    CHECK(error(all.out[p], expected_out(c, p)) < out_limit(dtype));
    check_statistics(c, p, all.statistics[p], all.top[p], statistics_limit);
    CHECK(all.top[p] == Vector(on_cpu[p].begin(), on_cpu[p].end()));
    if (c.trials() == 1) continue;
    const ProbeOutputs alone = run(gpu, dtype, c, p, 1, 128);
    CHECK(same_bits(all.out[p], alone.out[0]));
    CHECK(same_bits(all.statistics[p], alone.statistics[0]));
    CHECK(same_bits(all.top[p], alone.top[0]));
  }
}

}  // namespace

TEST_CASE("attention_probe on the GPU agrees with the oracle at odd lengths, windows and first keys",
          "[attention][probe][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const std::uint64_t seed = 71;
  CAPTURE(seed);
  Random random(seed);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  for (int length : {1, 7, 33}) {
    for (int first_keys : {0, 1, 4, length + 5}) {
      const Ints windows = {1, std::max(1, length - 1), length, length + 1, 2147483647};
      const Ints first(windows.size(), first_keys);
      check(gpu, dtype, probe_case(random, {2, length, 2, 2, 32}, windows, first, {}, false, 9));
      check(gpu, dtype, probe_case(random, {1, length, 4, 2, 64}, {3}, {first_keys}, {1}, true, 5));
      check(gpu, dtype, probe_case(random, {1, length, 3, 1, 128}, {3, 2, 5}, {first_keys, 2, 0}, {1, 0, 1}, true, 9));
    }
  }
}

TEST_CASE("attention_probe on the GPU agrees with the oracle over many keys", "[attention][probe][gpu][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const std::uint64_t seed = 72;
  CAPTURE(seed);
  Random random(seed);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  check(gpu, dtype, probe_case(random, {1, 513, 2, 1, 32}, {512, 100, 514}, {1, 4, 518}, {1, 0, 1}, false, 100));
  check(gpu, dtype, probe_case(random, {1, 513, 2, 2, 64}, {513, 1, 64}, {}, {}, true, 100));
  check(gpu, dtype, probe_case(random, {2, 130, 2, 1, 128}, {17, 1, 130}, {3, 0, 200}, {0, 1, 1}, true, 60));
}

TEST_CASE("attention_probe on the GPU takes any even head dim in fp32 and says what bf16 takes",
          "[attention][probe][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(73);
  for (int dim : {2, 6, 40, 66, 80, 130, 256}) {
    check(gpu, DType::f32, probe_case(random, {1, 41, 2, 1, dim}, {5, 2147483647}, {2, 0}, {1, 0}, false, 20));
  }
  // Trials that begin at odd places are read element by element.
  ProbeCase c = probe_case(random, {1, 20, 2, 1, 32}, {5, 20}, {2, 0}, {}, false, 20);
  const ProbeOutputs whole = run(gpu, DType::f32, c, 0, 2, 64);
  const ProbeOutputs odd = run(gpu, DType::f32, c, 0, 2, 3);
  CHECK(error(odd.out[0], expected_out(c, 0)) < out_limit(DType::f32));
  CHECK(error(odd.out[1], expected_out(c, 1)) < out_limit(DType::f32));
  CHECK(same_bits(odd.statistics[1], whole.statistics[1]));
  const ProbeCase not_bf16 = probe_case(random, {1, 8, 1, 1, 48}, {5}, {}, {}, false, 1);
  CHECK_THROWS_AS(run(gpu, DType::bf16, not_bf16, 0, 1, 64), std::invalid_argument);
}

TEST_CASE("attention_probe on the GPU without first keys and switches is attention_forward",
          "[attention][probe][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(74);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  const AttentionShape s{2, 100, 4, 2, 32};
  const ProbeCase c = gpu_case(dtype, probe_case(random, s, {1, 64, 100}, {}, {1, 0, 1}, false, 1));
  const Inputs in(dtype, c, 0, 3, 64);
  const DeviceTensor out(dtype, {3, s.batch, s.length, s.query * s.dim});
  const DeviceTensor lse(DType::f32, {3, s.batch, s.query, s.length});
  AttentionData data;
  data.window = in.window;
  data.sink = in.sink;
  data.sink_on = in.sink_on;
  attention_forward(gpu.ctx, in.heads, data, in.qkv, out, lse);
  const Trials probed = run(gpu, dtype, c, 0, 3, 64).out;
  // attention_forward's own error in bf16 is 6e-3 at most (its test).
  for (std::int64_t p = 0; p < 3; ++p) CHECK(error(out.values(p), probed[at(p)]) < (dtype == DType::f32 ? 4e-6 : 8e-3));
}

TEST_CASE("attention_probe on the GPU takes the lowest of equal weights, as the CPU does", "[attention][probe][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(75);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  const AttentionShape s{1, 90, 2, 1, 32};
  ProbeCase c = gpu_case(dtype, probe_case(random, s, {90, 40}, {0, 5}, {}, false, 80));
  for (auto& qkv : c.qkv) {  // position t + 30 has the key of position t
    for (std::int64_t t = 30; t < s.length; ++t) {
      std::copy_n(qkv.begin() + (t - 30) * s.width() + 2 * s.dim, s.dim, qkv.begin() + t * s.width() + 2 * s.dim);
    }
  }
  const auto top = run(gpu, dtype, c, 0, 2, 64).top;
  const auto on_cpu = top_on_cpu(c);
  int low = 0;
  for (std::size_t p = 0; p < 2; ++p) {
    CHECK(top[p] == Vector(on_cpu[p].begin(), on_cpu[p].end()));
    for (double key : top[p]) low += p == 0 && key < 30 ? 1 : 0;
  }
  CHECK(low == s.query * c.queries());  // under full attention an equal key always lies among the first 30
}

TEST_CASE("attention_probe on the GPU finds in fp32 the largest of the chains of fused multiply-adds",
          "[attention][probe][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(80);
  for (int dim : {6, 32, 64}) {
    ProbeCase c = probe_case(random, {1, 90, 1, 1, dim}, {90}, {}, {}, false, 80);
    make_near_ties(random, c);
    const Vector top = run(gpu, DType::f32, c, 0, 1, 64).top[0];
    for (std::size_t i = 0; i < top.size(); ++i) {
      CAPTURE(dim, i);
      CHECK(top[i] == chained_top(c, 0, c.query[0][i]));
    }
  }
}

TEST_CASE("attention_probe on the GPU keeps what is not a number to its readers", "[attention][probe][gpu]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(76);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  ProbeCase c = gpu_case(dtype, probe_case(random, {1, 60, 1, 1, 32}, {10, 10}, {2, 2}, {}, false, 1));
  const double nan = std::nan("");
  c.query[0] = {49, 50, 55, 60, -1};  // the last two are out of range
  c.answer[0] = {40, 48, 50, 3, 3};
  c.qkv[1][30 * 96 + 32] = nan;  // of key 30, seen by queries 30 .. 39
  c.qkv[1][35 * 96 + 64] = nan;  // of value 35, seen by queries 35 .. 44
  c.qkv[1][50 * 96] = nan;       // of query 50
  const ProbeOutputs got = run(gpu, dtype, c, 0, 2, 64);
  for (std::int64_t t = 0; t < 60; ++t) {
    CAPTURE(t);
    CHECK(std::isnan(got.out[1][at(t * 32)]) == ((t >= 30 && t < 45) || t == 50));
    CHECK(std::isfinite(got.out[0][at(t * 32)]));
  }
  constexpr int entropy = ProbeStatistic::entropy, columns = ProbeStatistic::count;
  CHECK(std::isfinite(got.statistics[1][entropy]));
  CHECK(std::isnan(got.statistics[1][columns + entropy]));
  CHECK(std::isfinite(got.statistics[1][2 * columns + entropy]));
  CHECK(got.top[1][1] == -1);
  for (std::size_t p = 0; p < 2; ++p) {
    for (std::size_t i = 3 * columns; i < 5 * columns; ++i) CHECK(std::isnan(got.statistics[p][i]));
    CHECK(got.top[p][3] == -1);
    CHECK(got.top[p][4] == -1);
  }
  c.query[0] = {59};
  c.answer[0] = {60};  // beyond the sequence: invisible
  c.head_on = {{0}, {0}};
  const ProbeOutputs off = run(gpu, dtype, c, 0, 2, 64);
  CHECK(error(off.out[1], Vector(60 * 32)) == 0);
  CHECK(off.statistics[0][ProbeStatistic::on_answer] == 0);
}

TEST_CASE("attention_probe on the GPU takes 65,536 positions", "[attention][probe][gpu][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(77);
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  const AttentionShape s{1, 65536, 1, 1, 32};
  ProbeCase c = gpu_case(dtype, probe_case(random, s, {20}, {4}, {}, false, 3));
  const Vector out = run(gpu, dtype, c, 0, 1, 64).out[0];
  for (std::int64_t t : {0, 19, 20, 24, 40000, 65535}) {
    CAPTURE(t);
    const auto begin = out.begin() + t * s.dim;
    // One row: its 32 roundings to bf16 have less to average over.
    CHECK(error(Vector(begin, begin + s.dim), oracle_row(c, 0, 0, t, -1).out) < (dtype == DType::f32 ? 4e-6 : 4e-3));
  }
  c.window = one_each({65536});
  c.head_on = {{0}};
  const ProbeOutputs full = run(gpu, dtype, c, 0, 1, 64);
  check_statistics(c, 0, full.statistics[0], full.top[0], 2e-5);  // sums of 2,048 terms a lane
}

TEST_CASE("attention_probe on the GPU refuses wrong tensors", "[attention][probe][gpu][errors]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(78);
  const ProbeCase c = probe_case(random, {2, 4, 2, 1, 32}, {2}, {1}, {1}, true, 3);
  const Inputs in(DType::f32, c, 0, 1, 64);
  const DeviceTensor out(DType::f32, {1, 2, 4, 64}), swapped(DType::f32, {1, 4, 2, 64});
  const DeviceTensor statistics(DType::f32, {1, 2, 3, 4}), top(DType::i32, {1, 2, 3});
  const DeviceTensor other(DType::bf16, {1, 2, 4, 64}), flat(DType::i32, {3}), pair(DType::i32, {2});
  const auto refuses = [&](const AttentionProbeData& data, const Heads& heads, const Tensor& to) {
    CHECK_THROWS_AS(attention_probe_forward(gpu.ctx, heads, data, in.qkv, to), std::invalid_argument);
  };
  const auto refuses_queries = [&](const ProbeQueries& queries, const Tensor& to, const Tensor& best) {
    CHECK_THROWS_AS(attention_probe_statistics(gpu.ctx, in.heads, in.data, queries, in.qkv, to, best),
                    std::invalid_argument);
  };
  refuses(in.data, {3, 2, 32}, out);
  refuses(in.data, {2, 2, 32}, out);
  refuses(in.data, in.heads, other);
  refuses(in.data, in.heads, swapped);
  refuses(in.data, in.heads, statistics);
  for (Tensor AttentionProbeData::*part :
       {&AttentionProbeData::window, &AttentionProbeData::first_keys, &AttentionProbeData::sink,
        &AttentionProbeData::sink_on, &AttentionProbeData::head_on}) {
    AttentionProbeData data = in.data;
    data.*part = pair;
    refuses(data, in.heads, out);
  }
  AttentionProbeData without = in.data;
  without.window = {};
  refuses(without, in.heads, out);
  refuses_queries({flat, in.answer}, statistics, top);
  refuses_queries({in.query, {}}, statistics, top);
  refuses_queries({in.query, pair}, statistics, top);
  refuses_queries({in.query, in.answer}, out, top);
  refuses_queries({in.query, in.answer}, statistics, statistics);
  attention_probe_statistics(gpu.ctx, in.heads, in.data, {}, in.qkv, {}, {});  // no queries: nothing to do
}

TEST_CASE("speed of attention_probe on the GPU", "[.probe_bench]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(79);
  const AttentionShape s{32, 512, 8, 8, 32};
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const std::int64_t P = 8, n = 4096;
    ProbeCase c = probe_case(random, {32, 512, 1, 1, 2}, Ints(8, 512), Ints(8, 0), {}, false, n);
    c.shape = s;
    const Vector few = random.normal(1 << 16);
    for (auto& qkv : c.qkv) {
      qkv.resize(at(s.batch * s.length * s.width()));
      for (std::size_t i = 0; i < qkv.size(); ++i) qkv[i] = few[i * 7 % few.size()];
    }
    c.sink = random.trials(P, s.query);
    std::sort(c.query[0].begin(), c.query[0].end());
    const Inputs in(dtype, c, 0, P, 64);
    const DeviceTensor out(dtype, {P, s.batch, s.length, s.query * s.dim});
    const DeviceTensor statistics(DType::f32, {P, s.query, n, ProbeStatistic::count}), top(DType::i32, {P, s.query, n});
    const auto ms = [&](const auto& launch) {
      using Clock = std::chrono::steady_clock;
      for (int i = 0; i < 3; ++i) launch();
      gpu.runtime.synchronize();
      const auto start = Clock::now();
      for (int i = 0; i < 10; ++i) launch();
      gpu.runtime.synchronize();
      return std::chrono::duration<double, std::milli>(Clock::now() - start).count() / 10;
    };
    const double forward = ms([&] { attention_probe_forward(gpu.ctx, in.heads, in.data, in.qkv, out); });
    const double statistic = ms([&] {
      attention_probe_statistics(gpu.ctx, in.heads, in.data, {in.query, in.answer}, in.qkv, statistics, top);
    });
    std::printf("%s P 8 B 32 T 512 H 8 hd 32: forward %.3f ms, statistics of %ld queries %.3f ms\n",
                dtype == DType::bf16 ? "bf16" : "f32", forward, static_cast<long>(n), statistic);
  }
}
