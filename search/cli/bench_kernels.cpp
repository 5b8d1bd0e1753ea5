// hylas bench kernels: every operator of a training step at the shapes of a size, against what the machine can do.
//
// Work is counted once, whatever an implementation does: bytes are each input read and each output written (gradients
// of parameters are added to: both), FLOPs those of the products (attention: useful pairs of query and key, 4 products'
// worth forward, 10 backward, since no T x T is kept). The ceiling of an operator is the larger of bytes over the rate
// of a large copy and FLOPs over the rate of a large matrix product, both measured here. Tensors that stay in a cache
// can pass it. On a GPU shapes are those of a micro-batch of the trainer, on the CPU those of a thread's chunk.
#include "search/cli/bench_kernels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "kernels/adamw.hpp"
#include "kernels/add_rmsnorm.hpp"
#include "kernels/attention.hpp"
#include "kernels/embed.hpp"
#include "kernels/feed_forward.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "kernels/memory.hpp"
#include "kernels/norm_linear.hpp"
#include "model/cohort.hpp"
#include "model/design/cost.hpp"
#include "search/cli/bench_lab.hpp"
#include "search/cli/bench_sizes.hpp"
#include "search/cli/exit_code.hpp"
#include "search/report/table.hpp"
#include "search/run/devices.hpp"

namespace hylas::cli {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

constexpr double norm_eps = 1e-6;

struct Options {
  CommonOptions common;
  std::string size;  // empty: tiny on a GPU, cpu64 on the CPU
  std::string device = "auto";
  std::string precision;  // empty: bf16 on a GPU, fp32 on the CPU
  std::int64_t trials = 1;
};

struct Ceilings {
  double bytes_per_second = 0;
  double flops_per_second = 0;
};

struct Measured {
  std::string name, shape;
  double seconds = 0, bytes = 0, flops = 0;
};

double bytes_of(std::initializer_list<Tensor> tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors) bytes += static_cast<double>(t.size() * kernels::size_of(t.dtype()));
  return bytes;
}

Ceilings measure_ceilings(BenchLab& lab, DType dtype) {
  const std::int64_t numbers = lab.on_gpu() ? std::int64_t{1} << 28 : std::int64_t{1} << 24;
  const std::int64_t side = lab.on_gpu() ? 8192 : 768;
  Context& ctx = lab.context();
  Ceilings ceilings;
  {
    const Tensor from = lab.random(DType::f32, {1, numbers}), to = lab.random(DType::f32, {1, numbers});
    ceilings.bytes_per_second = bytes_of({from, to}) / lab.seconds([&] { kernels::copy(ctx, from, to); });
    lab.clear();
  }
  const Tensor x = lab.random(dtype, {1, side, side}), w = lab.random(dtype, {1, side, side}),
               y = lab.random(dtype, {1, side, side});
  const double n = static_cast<double>(side);
  ceilings.flops_per_second = 2 * n * n * n / lab.seconds([&] { kernels::linear_forward(ctx, x, w, y); });
  lab.clear();
  return ceilings;
}

// One method a group of operators; each measures and gives its memory back.
class Operators {
 public:
  Operators(BenchLab& lab, const BenchSize& size, std::int64_t trials, std::int64_t batch, DType dtype)
      : lab_(lab),
        ctx_(lab.context()),
        size_(size),
        shape_(size.shape()),
        type_(dtype),
        P_(trials),
        B_(batch),
        T_(size.context),
        d_(size.d_model),
        q_(shape_.q_width()),
        heads_{.query = shape_.heads, .kv = shape_.kv_heads, .dim = shape_.head_dim},
        rows_(static_cast<double>(trials * batch * size.context)) {}

  std::vector<Measured> run() {
    embed();
    norm_linear();
    attention("attention_full", T_);
    attention("attention_window", std::min<std::int64_t>(T_, size_.for_cpu() ? 8 : 128));
    linear_out();
    feed_forward();
    final_norm();
    loss();
    optimizer();
    return std::move(measured_);
  }

 private:
  [[nodiscard]] Tensor activation(std::int64_t columns) { return lab_.random(type_, {P_, B_, T_, columns}); }
  [[nodiscard]] Tensor matrix(std::int64_t out, std::int64_t in) {
    return lab_.random(type_, {P_, out, in}, 1 / std::sqrt(static_cast<double>(in)));
  }
  [[nodiscard]] Tensor gradient(std::int64_t out, std::int64_t in) { return lab_.filled({P_, out, in}, 0); }
  [[nodiscard]] std::string rows_by(std::int64_t in, std::int64_t out) const {
    return fmt::format("{} x {} x {}, {} -> {}", P_, B_, T_, in, out);
  }
  [[nodiscard]] double times(std::int64_t in, std::int64_t out) const {  // FLOPs of one product of all rows
    return 2 * rows_ * static_cast<double>(in) * static_cast<double>(out);
  }
  void add(const std::string& name, const std::string& shape, double bytes, double flops,
           const std::function<void()>& call) {
    measured_.push_back({name, shape, lab_.seconds(call), bytes, flops});
  }

  void embed() {
    const std::int64_t V = size_.vocab;
    const Tensor table = lab_.random(type_, {P_, V, d_}), tokens = lab_.integers({P_, B_, T_}, 0, V);
    const Tensor x = activation(d_), dtable = gradient(V, d_);
    const double used = std::min(1.0, static_cast<double>(B_ * T_) / static_cast<double>(V));  // of the table's rows
    const auto shape = fmt::format("{} x {} x {}, {} of {}", P_, B_, T_, d_, V);
    add("embed_forward", shape, used * bytes_of({table}) + bytes_of({tokens, x}), 0,
        [&] { kernels::embed_forward(ctx_, table, tokens, x); });
    add("embed_backward", shape, 2 * used * bytes_of({dtable}) + bytes_of({tokens, x}), 0,
        [&] { kernels::embed_backward(ctx_, x, tokens, dtable); });
    lab_.clear();
  }

  [[nodiscard]] kernels::Rope rope() {
    kernels::Arena host;
    const std::int64_t half = heads_.dim / 2;
    const Tensor cos = host.tensor(DType::f32, {1, T_, half}), sin = host.tensor(DType::f32, {1, T_, half});
    kernels::rope_table(shape_.rope_theta, cos, sin);
    return {lab_.holding(cos), lab_.holding(sin), lab_.integers({P_}, 1)};
  }

  void norm_linear() {
    const std::int64_t out = shape_.qkv_width();
    const kernels::RopeEpilogue turn{heads_, rope()};
    const Tensor x = activation(d_), norm = lab_.filled({P_, d_}, 1), w = matrix(out, d_), y = activation(out);
    const Tensor dx = activation(d_), dnorm = lab_.filled({P_, d_}, 0), dw = gradient(out, d_);
    add("norm_linear_forward", rows_by(d_, out), bytes_of({x, norm, w, y}), times(d_, out), [&] {
      kernels::NormSaved saved;
      kernels::norm_linear_forward(ctx_, x, norm, norm_eps, w, y, saved, &turn);
    });
    kernels::NormSaved saved;
    kernels::norm_linear_forward(ctx_, x, norm, norm_eps, w, y, saved, &turn);
    add("norm_linear_backward", rows_by(d_, out), bytes_of({y, x, norm, w}) + 2 * bytes_of({dx, dnorm, dw}),
        2 * times(d_, out),
        [&] { kernels::norm_linear_backward(ctx_, y, x, norm, norm_eps, w, saved, dx, dnorm, dw); });
    lab_.clear();
  }

  void attention(const std::string& name, std::int64_t window) {
    const Tensor qkv = activation(shape_.qkv_width()), out = activation(q_), dout = activation(q_);
    const Tensor dqkv = activation(shape_.qkv_width()), lse = lab_.filled({P_, B_, shape_.heads, T_}, 0);
    const kernels::AttentionData data{.window = lab_.integers({P_}, window), .sink = {}, .sink_on = {}};
    const kernels::Rope turn = rope();
    const auto w = static_cast<double>(window), t = static_cast<double>(T_);
    const double pairs = rows_ * (w - w * (w - 1) / (2 * t)) * static_cast<double>(q_);  // times the head dim
    const auto shape =
        fmt::format("{} x {} x {}, {} x {} of {}, window {}", P_, B_, T_, heads_.query, heads_.kv, heads_.dim, window);
    add(name + "_forward", shape, bytes_of({qkv, out, lse}), 4 * pairs,
        [&] { kernels::attention_forward(ctx_, heads_, data, qkv, out, lse); });
    add(name + "_backward", shape, bytes_of({qkv, out, lse, dout, dqkv}), 10 * pairs,
        [&] { kernels::attention_backward(ctx_, heads_, data, turn, qkv, out, lse, dout, dqkv, {}); });
    lab_.clear();
  }

  void linear_out() {
    const Tensor x = activation(q_), w = matrix(d_, q_), residual = activation(d_), y = activation(d_);
    const Tensor dw = gradient(d_, q_);
    add("linear_out_forward", rows_by(q_, d_), bytes_of({x, w, residual, y}), times(q_, d_),
        [&] { kernels::linear_forward_add(ctx_, x, w, residual, y); });
    add("linear_out_input_gradient", rows_by(q_, d_), bytes_of({y, w, x}), times(q_, d_),
        [&] { kernels::linear_backward_input(ctx_, residual, w, x, false); });
    add("linear_out_weight_gradient", rows_by(q_, d_), bytes_of({y, x}) + 2 * bytes_of({dw}), times(q_, d_),
        [&] { kernels::linear_backward_weight(ctx_, residual, x, dw); });
    lab_.clear();
  }

  void feed_forward() {
    const std::int64_t f = size_.ffn;
    const Tensor x = activation(d_), y = activation(d_), dx = activation(d_);
    const kernels::FeedForwardWeights weights{
        .norm = lab_.filled({P_, d_}, 1), .gate_up = matrix(2 * f, d_), .down = matrix(d_, f)};
    const kernels::FeedForwardWeights gradients{
        .norm = lab_.filled({P_, d_}, 0), .gate_up = gradient(2 * f, d_), .down = gradient(d_, f)};
    const auto shape = rows_by(d_, f) + fmt::format(" -> {}", d_);
    const double read = bytes_of({x, weights.norm, weights.gate_up, weights.down});
    const double flops = times(d_, 3 * f);
    add("feed_forward_forward", shape, read + bytes_of({y}), flops,
        [&] { (void)kernels::feed_forward_forward(ctx_, x, weights, norm_eps, y); });
    const kernels::FeedForwardSaved saved = kernels::feed_forward_forward(ctx_, x, weights, norm_eps, y);
    add("feed_forward_backward", shape,
        read + bytes_of({y, dx}) + 2 * bytes_of({gradients.norm, gradients.gate_up, gradients.down}), 2 * flops,
        [&] { kernels::feed_forward_backward(ctx_, x, weights, norm_eps, saved, y, dx, gradients); });
    lab_.clear();
  }

  void final_norm() {
    const Tensor x = activation(d_), h = activation(d_), dx = activation(d_), inv_rms = lab_.filled({P_, B_, T_}, 1);
    const Tensor norm = lab_.filled({P_, d_}, 1), dnorm = lab_.filled({P_, d_}, 0);
    const auto shape = fmt::format("{} x {} x {} x {}", P_, B_, T_, d_);
    add("final_norm_forward", shape, bytes_of({x, norm, h, inv_rms}), 0,
        [&] { kernels::add_rmsnorm_forward(ctx_, x, {}, norm, norm_eps, h, inv_rms); });
    add("final_norm_backward", shape, bytes_of({h, x, norm, inv_rms}) + 2 * bytes_of({dx, dnorm}), 0,
        [&] { kernels::add_rmsnorm_backward(ctx_, h, x, norm, inv_rms, dx, dnorm); });
    lab_.clear();
  }

  void loss() {
    const std::int64_t V = size_.vocab;
    const Tensor h = activation(d_), head = matrix(V, d_), targets = lab_.integers({P_, B_, T_}, 0, V);
    const Tensor loss = lab_.filled({P_, B_, T_}, 0), dh = activation(d_), dhead = gradient(V, d_);
    const double scale = 1.0 / static_cast<double>(B_ * T_);
    add("linear_cross_entropy", rows_by(d_, V), bytes_of({h, head, targets, loss, dh}) + 2 * bytes_of({dhead}),
        3 * times(d_, V), [&] { kernels::linear_cross_entropy_train(ctx_, h, head, targets, scale, loss, dh, dhead); });
    lab_.clear();
  }

  void optimizer() {
    const model::Cost cost = model::cost_of(model::Design::make(size_.layout(), shape_));
    const std::int64_t N = (cost.parameters_total + 63) / 64 * 64;
    const Tensor params = lab_.random(DType::f32, {P_, N}), grads = lab_.random(DType::f32, {P_, N});
    const Tensor m = lab_.filled({P_, N}, 0), v = lab_.filled({P_, N}, 0), norm = lab_.filled({P_}, 0);
    const Tensor copy = type_ == DType::bf16 ? lab_.random(type_, {P_, N}) : Tensor();
    const kernels::AdamWData data{.lr = lab_.filled({P_}, 1e-6F),
                                  .weight_decay = lab_.filled({P_}, 0.1F),
                                  .clip_scale = lab_.filled({P_}, 1),
                                  .step = lab_.integers({P_}, 100)};
    const kernels::AdamW options{.decay_count = N};
    const auto shape = fmt::format("{} x {}", P_, N);
    add("grad_norm", shape, bytes_of({grads, norm}), 0, [&] { kernels::grad_norm(ctx_, grads, norm); });
    const double copied = copy.defined() ? bytes_of({copy}) : 0;
    add("adamw", shape, bytes_of({grads}) + 2 * bytes_of({params, m, v}) + copied, 0,
        [&] { kernels::adamw_update(ctx_, options, data, params, grads, m, v, copy); });
    lab_.clear();
  }

  BenchLab& lab_;
  Context& ctx_;
  const BenchSize& size_;
  model::Shape shape_;
  DType type_;
  std::int64_t P_, B_, T_, d_, q_;
  kernels::Heads heads_;
  double rows_;  // of all trials
  std::vector<Measured> measured_;
};

// Sequences that go through an operator at once: the trainers' own rules (model/cuda/engine.cpp, model/trainer.cpp).
std::int64_t batch_of(const BenchSize& size, bool gpu) {
  const std::int64_t tokens = size.batch * size.context;
  const std::int64_t parts = gpu ? (size.batch + std::max<std::int64_t>(1, 32768 / size.context) - 1) /
                                       std::max<std::int64_t>(1, 32768 / size.context)
                                 : std::clamp<std::int64_t>(tokens / 256, 1, std::min<std::int64_t>(size.batch, 8));
  return (size.batch + parts - 1) / parts;
}

double percent_of_ceiling(const Measured& m, const Ceilings& ceilings) {
  return 100 * std::max(m.bytes / ceilings.bytes_per_second, m.flops / ceilings.flops_per_second) / m.seconds;
}

std::string table_of(const std::vector<Measured>& operators, const Ceilings& ceilings) {
  using search::Align;
  search::Table table{{{"operator"},
                       {"shape"},
                       {"us", Align::right},
                       {"MB", Align::right},
                       {"GFLOP", Align::right},
                       {"bound by"},
                       {"% of ceiling", Align::right}},
                      {}};
  for (const Measured& m : operators) {
    const bool copies = m.bytes / ceilings.bytes_per_second >= m.flops / ceilings.flops_per_second;
    table.rows.push_back({m.name, m.shape, fmt::format("{:.1f}", m.seconds * 1e6),
                          fmt::format("{:.1f}", m.bytes * 1e-6), fmt::format("{:.2f}", m.flops * 1e-9),
                          copies ? "copy" : "product", fmt::format("{:.1f}", percent_of_ceiling(m, ceilings))});
  }
  return search::text_table(table);
}

int run(Options options) {
  const std::string device = search::worker_devices(options.device).front();
  BenchLab lab(model::device_of(device));
  if (options.size.empty()) options.size = lab.on_gpu() ? "tiny" : "cpu64";
  const BenchSize& size = find_bench_size(options.size);
  if (options.precision.empty()) options.precision = lab.on_gpu() ? "bf16" : "fp32";
  if (options.precision == "bf16" && !lab.on_gpu()) {
    throw model::InputError("--precision bf16 needs a GPU; the CPU computes in fp32");
  }
  const DType dtype = options.precision == "bf16" ? DType::bf16 : DType::f32;
  const Ceilings ceilings = measure_ceilings(lab, dtype);
  const auto operators = Operators(lab, size, options.trials, batch_of(size, lab.on_gpu()), dtype).run();
  const std::string where = search::device_text(device);
  if (!options.common.json) {
    print(fmt::format("{}, {}, {} x {}: copies {:.1f} GB/s, matrix products {:.2f} TFLOP/s\n\n", where,
                      options.precision, options.size, options.trials, ceilings.bytes_per_second * 1e-9,
                      ceilings.flops_per_second * 1e-12) +
          table_of(operators, ceilings));
    return exit_ok;
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Measured& m : operators) {
    list.push_back({{"name", m.name},
                    {"shape", m.shape},
                    {"microseconds", m.seconds * 1e6},
                    {"bytes", m.bytes},
                    {"flops", m.flops},
                    {"percent_of_ceiling", percent_of_ceiling(m, ceilings)}});
  }
  print(nlohmann::ordered_json{
      {"device", where},
      {"size", options.size},
      {"trials", options.trials},
      {"precision", options.precision},
      {"ceilings", {{"bytes_per_second", ceilings.bytes_per_second}, {"flops_per_second", ceilings.flops_per_second}}},
      {"operators", list}}
            .dump(2));
  return exit_ok;
}

}  // namespace

void add_bench_kernels(Program& program, CLI::App& bench) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(
      program, bench, "kernels", "each operator of a training step against the machine's limits",
      "hylas bench kernels --size cpu64 --device cpu --json", options->common, [options] { return run(*options); });
  command->add_option("--size", options->size,
                      "cpu64, cpu128, cpu256, tiny, small, mid or big (default: tiny on a GPU, cpu64 on the CPU)");
  command->add_option("--trials", options->trials, "trials at once")->capture_default_str()->check(CLI::Range(1, 4096));
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  command->add_option("--precision", options->precision, "fp32 or bf16 (default: bf16 on a GPU, fp32 on the CPU)")
      ->check(CLI::IsMember({"fp32", "bf16"}));
}

}  // namespace hylas::cli
