// Speed of the operators in the sequence of a training step, at the sizes of the CPU baselines. Hidden: run it with
//   build/tests/test_kernels "[.bench]"
//
// A step is cut into batch chunks of about 256 tokens (whole sequences), as the cohort trainer does; layers alternate
// between window 8 and full. Each operator's time is the best of many passes; "pass" is a whole pass timed as one, on
// one thread, and on two threads that run one trial each. Times are the thread's time on a core (CPU time), so that a
// busy machine disturbs them less. Tokens/s of a step add AdamW, once a step.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>

#include "kernels/adamw.hpp"
#include "kernels/add_rmsnorm.hpp"
#include "kernels/attention.hpp"
#include "kernels/embed.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "kernels/parallel.hpp"
#include "kernels/swiglu.hpp"
#include "tests/catch.hpp"

using namespace hylas::kernels;

namespace {

struct Size {
  const char* name;
  std::int64_t d, layers, length, batch, heads, ffn, vocabulary, chunk;
};

// Time of this thread on a core: what others do on the machine counts only as far as caches and memory are shared.
double seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Op {
  std::string name;
  double flops;
  std::function<void()> run;
  double best = 1e9;
};

// One trial's buffers and the operators of one chunk, in order.
class Step {
 public:
  Step(const Size& s, bool baseline) : s_(s) {
    ctx_.baseline = baseline;
    const std::int64_t b = s.chunk, t = s.length, d = s.d, f = s.ffn, v = s.vocabulary, hd = d / s.heads;
    rows_ = b * t;
    heads_ = {s.heads, s.heads, hd};
    tokens_.resize(static_cast<std::size_t>(rows_));
    for (std::size_t i = 0; i < tokens_.size(); ++i)
      tokens_[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(v));
    const Tensor tokens = Tensor::of(tokens_.data(), {1, b, t});
    const Tensor cos = make({1, t, hd / 2}), sin = make({1, t, hd / 2});
    rope_table(1e4, cos, sin);
    const Tensor table = make({1, v, d}), dtable = make({1, v, d}), head = make({1, v, d}), dhead = make({1, v, d});
    const Tensor x = make({1, b, t, d}), dx = make({1, b, t, d});
    x_ = x;
    dx_ = dx;
    add("embed", 0, [=, this] { embed_forward(ctx_, table, tokens, x); });
    for (std::int64_t layer = 0; layer < s.layers; ++layer) layer_ops(layer % 2 == 0 ? 8 : 1 << 30, x, dx, cos, sin, f);
    const Tensor h = make({1, b, t, d}), dh = make({1, b, t, d}), loss = make({1, b, t});
    add("head+loss", 6.0 * d * v, [=, this] { linear_cross_entropy_train(ctx_, h, head, tokens, 1, loss, dh, dhead); });
    for (auto it = backward_.rbegin(); it != backward_.rend(); ++it) ops_.push_back(*it);
    add("embed_b", 0, [=, this] { embed_backward(ctx_, dx, tokens, dtable); });
    optimizer();
  }
  Step(const Step&) = delete;

  void pass() {
    clear();
    for (auto& op : ops_) op.run();
  }
  void timed_pass() {
    clear();
    for (auto& op : ops_) {
      const double start = seconds();
      op.run();
      op.best = std::min(op.best, seconds() - start);
    }
  }
  std::vector<Op>& ops() { return ops_; }
  // The residual streams are summed into: they start again, or repeated passes overflow.
  void clear() {
    for (const Tensor& t : {x_, dx_}) std::fill_n(t.trial<float>(), t.size(), 0.01F);
  }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  std::function<void()> update;
  std::int64_t parameters = 0;

 private:
  Tensor make(std::initializer_list<std::int64_t> dims) {
    const Tensor t = arena_.tensor(DType::f32, dims);
    for (std::int64_t i = 0; i < t.size(); ++i) t.trial<float>()[i] = static_cast<float>(i * 7919 % 1001 - 500) * 1e-3F;
    return t;
  }
  void add(const std::string& name, double flops_a_token, std::function<void()> run) {
    ops_.push_back({name, flops_a_token * static_cast<double>(rows_), std::move(run)});
  }
  void add_backward(const std::string& name, double flops_a_token, std::function<void()> run) {
    backward_.push_back({name, flops_a_token * static_cast<double>(rows_), std::move(run)});
  }

  // y = x W^T with x of `in` and y of `out` columns: forward and the two gradients.
  void linear_ops(const std::string& name, const Tensor& x, const Tensor& dx, const Tensor& y, const Tensor& dy,
                  bool onto) {
    const std::int64_t in = x.dim(-1), out = y.dim(-1);
    const Tensor w = make({1, out, in}), dw = make({1, out, in});
    for (std::int64_t i = 0; i < dw.size(); ++i) dw.trial<float>()[i] = 0;
    parameters += in * out;
    const double flops = 2.0 * static_cast<double>(in * out);
    if (onto) {
      add(name, flops, [=, this] { linear_forward_add(ctx_, x, w, y, y); });
    } else {
      add(name, flops, [=, this] { linear_forward(ctx_, x, w, y); });
    }
    add_backward(name + " dw", flops, [=, this] { linear_backward_weight(ctx_, dy, x, dw); });
    add_backward(name + " dx", flops, [=, this] { linear_backward_input(ctx_, dy, w, dx, false); });
  }
  void norm_ops(const Tensor& x, const Tensor& dx, const Tensor& h, const Tensor& dh) {
    const Tensor weight = make({1, s_.d}), dweight = make({1, s_.d}), inv = make({1, s_.chunk, s_.length});
    add("norm", 0, [=, this] { add_rmsnorm_forward(ctx_, x, Tensor(), weight, 1e-6, h, inv); });
    add_backward("norm_b", 0, [=, this] { add_rmsnorm_backward(ctx_, dh, x, weight, inv, dx, dweight); });
  }
  void layer_ops(std::int64_t window, const Tensor& x, const Tensor& dx, const Tensor& cos, const Tensor& sin,
                 std::int64_t f) {
    const std::int64_t b = s_.chunk, t = s_.length, d = s_.d;
    const Tensor h = make({1, b, t, d}), dh = make({1, b, t, d}), qkv = make({1, b, t, 3 * d}),
                 dqkv = make({1, b, t, 3 * d});
    const Tensor out = make({1, b, t, d}), dout = make({1, b, t, d}), lse = make({1, b, s_.heads, t});
    norm_ops(x, dx, h, dh);
    linear_ops("qkv", h, dh, qkv, dqkv, false);
    windows_.push_back(std::make_unique<std::int32_t>(static_cast<std::int32_t>(window)));
    AttentionData data;
    data.window = Tensor::of(windows_.back().get(), {1});
    const Tensor on = Tensor::of(&one_, {1});
    add("rope", 0, [=, this] { qkv_rope_forward(ctx_, heads_, {cos, sin, on}, qkv); });
    add_backward("rope_b", 0, [=, this] { qkv_rope_backward(ctx_, heads_, {cos, sin, on}, dqkv); });
    const double keys = static_cast<double>(window < t ? window : (t + 1) / 2);
    const std::string name = window < t ? "swa" : "full";
    add(name, 4 * keys * static_cast<double>(d), [=, this] { attention_forward(ctx_, heads_, data, qkv, out, lse); });
    add_backward(name + "_b", 10 * keys * static_cast<double>(d),
                 [=, this] { attention_backward(ctx_, heads_, data, {}, qkv, out, lse, dout, dqkv, Tensor()); });
    linear_ops("out", out, dout, x, dx, true);
    const Tensor h2 = make({1, b, t, d}), dh2 = make({1, b, t, d}), gu = make({1, b, t, 2 * f}),
                 dgu = make({1, b, t, 2 * f});
    const Tensor act = make({1, b, t, f}), dact = make({1, b, t, f});
    norm_ops(x, dx, h2, dh2);
    linear_ops("gate_up", h2, dh2, gu, dgu, false);
    add("swiglu", 0, [=, this] { swiglu_forward(ctx_, gu, act); });
    add_backward("swiglu_b", 0, [=, this] { swiglu_backward(ctx_, dact, gu, dgu); });
    linear_ops("down", act, dact, x, dx, true);
  }
  void optimizer() {
    parameters += 2 * s_.vocabulary * s_.d;
    const Tensor p = make({1, parameters}), g = make({1, parameters}), m = make({1, parameters}),
                 v = make({1, parameters});
    for (std::int64_t i = 0; i < parameters; ++i) v.trial<float>()[i] = 1;
    const Tensor norm = make({1}), scalar = make({1});
    scalar.trial<float>()[0] = 1e-3F;
    const Tensor step = Tensor::of(&one_, {1});
    update = [=, this] {
      grad_norm(ctx_, g, norm);
      adamw_update(ctx_, {}, {scalar, scalar, scalar, step}, p, g, m, v);
    };
  }

  Size s_;
  Context ctx_;
  Arena arena_;
  Heads heads_;
  Tensor x_, dx_;
  std::int64_t rows_ = 0;
  std::int32_t one_ = 1;
  std::vector<std::int32_t> tokens_;
  std::vector<std::unique_ptr<std::int32_t>> windows_;
  std::vector<Op> ops_, backward_;
};

double best_of(int times, const std::function<void()>& f) {
  double best = 1e9;
  for (int i = 0; i < times; ++i) {
    const double start = seconds();
    f();
    best = std::min(best, seconds() - start);
  }
  return best;
}

void report(const Size& size, bool baseline) {
  Step step(size, baseline);
  const int times = size.d > 128 ? 10 : 30;
  for (int i = 0; i < times; ++i) step.timed_pass();
  struct Sum {
    std::string name;
    double flops = 0, time = 0;
  };
  std::vector<Sum> sums;
  double flops = 0;
  for (const Op& op : step.ops()) {
    auto it = std::find_if(sums.begin(), sums.end(), [&](const Sum& s) { return s.name == op.name; });
    if (it == sums.end()) it = sums.insert(sums.end(), Sum{op.name});
    it->flops += op.flops;
    it->time += op.best;
    flops += op.flops;
  }
  double total = 0;
  for (const Sum& s : sums) total += s.time;
  std::printf("%s %s, %lld tokens a chunk\n", size.name, baseline ? "baseline" : "best",
              static_cast<long long>(step.rows()));
  for (const Sum& s : sums) {
    std::printf("  %-11s %8.1f us  %5.1f%%  %7.1f GFLOP/s\n", s.name.c_str(), s.time * 1e6, 100 * s.time / total,
                s.flops / s.time * 1e-9);
  }
  const double pass = best_of(times, [&] { step.pass(); });
  const double update = best_of(times, step.update);
  Step other(size, baseline);
  ThreadPool pool(2);
  double both = 1e9;
  for (int i = 0; i < times; ++i) {
    double time[2];
    pool.run(2, [&](std::int64_t item, Context&) {
      const double start = seconds();
      (item == 0 ? step : other).pass();
      time[item] = seconds() - start;
    });
    both = std::min(both, std::max(time[0], time[1]));
  }
  const auto tokens = static_cast<double>(step.rows());
  const double chunks = static_cast<double>(size.batch) / static_cast<double>(size.chunk);
  const auto rate = [&](double t) { return tokens * chunks / (t * chunks + update); };
  std::printf("  pass %.1f us, %.1f GFLOP/s; AdamW %.1f us; step: %.0f tokens/s on one thread, %.0f on two\n\n",
              pass * 1e6, flops / pass * 1e-9, update * 1e6, rate(pass), 2 * rate(both));
}

}  // namespace

TEST_CASE("speed of the operators in the sequence of a step", "[.bench]") {
  for (bool baseline : {true, false}) {
    report({"d32 L4 T64 B32", 32, 4, 64, 32, 1, 96, 32, 4}, baseline);
    report({"d64 L4 T128 B16", 64, 4, 128, 16, 2, 192, 128, 2}, baseline);
    report({"d128 L4 T512 B8", 128, 4, 512, 8, 2, 384, 128, 1}, baseline);
    report({"d256 L4 T512 B4", 256, 4, 512, 4, 4, 768, 128, 1}, baseline);
  }
}
