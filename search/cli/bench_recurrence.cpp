// hylas bench recurrence: the recurrences of Gated DeltaNet, Mamba-2 and Lightning alone, forward and backward, at
// shapes that public kernels are timed at and for cohorts of 16 proxies.
#include "search/cli/bench_recurrence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/recurrence.hpp"
#include "model/cohort.hpp"
#include "model/design/recurrent_sizes.hpp"
#include "search/cli/bench_lab.hpp"
#include "search/cli/exit_code.hpp"
#include "search/report/table.hpp"
#include "search/run/devices.hpp"

namespace hylas::cli {
namespace {

using kernels::DType;
using kernels::Tensor;

struct Options {
  CommonOptions common;
  std::string device = "auto";
};

struct BenchShape {
  std::int64_t trials, batch, context, heads, dim;
  [[nodiscard]] std::int64_t tokens() const { return trials * batch * context; }
};

constexpr std::array kGpuShapes = {BenchShape{1, 8, 2048, 4, 64}, BenchShape{1, 8, 4096, 8, 128},
                                   BenchShape{1, 1, 32768, 4, 128}, BenchShape{16, 1, 2048, 4, 128},
                                   BenchShape{16, 8, 512, 4, 32}};
constexpr std::array kCpuShapes = {BenchShape{1, 1, 2048, 4, 64}, BenchShape{2, 8, 256, 2, 32}};

struct Kind {
  const char* name;
  bool delta, gates, shared;  // shared: one group of queries and keys for all heads
};

constexpr std::array kKinds = {Kind{"gdn", true, true, false}, Kind{"mamba2", false, true, true},
                               Kind{"lightning", false, false, false}};

struct Measured {
  const char* name;
  BenchShape shape;
  double forward = 0, backward = 0;  // seconds
  [[nodiscard]] double ns_per_token() const { return (forward + backward) * 1e9 / static_cast<double>(shape.tokens()); }
};

Measured measure(BenchLab& lab, const Kind& kind, const BenchShape& s) {
  const std::int64_t P = s.trials, B = s.batch, T = s.context, groups = kind.shared ? 1 : s.heads;
  const kernels::Recurrence shape{.heads = s.heads,
                                  .groups = groups,
                                  .key_dim = s.dim,
                                  .value_dim = s.dim,
                                  .q_at = 0,
                                  .k_at = groups * s.dim,
                                  .v_at = 2 * groups * s.dim,
                                  .scale = 1,
                                  .delta = kind.delta,
                                  .chunk = model::kRecurrentChunk};
  const DType dtype = lab.on_gpu() ? DType::bf16 : DType::f32;
  const std::int64_t width = 2 * groups * s.dim + shape.value_width();
  const double unit = 1 / std::sqrt(static_cast<double>(s.dim));  // keys of norm 1
  const auto random = [&](std::int64_t columns, double scale) { return lab.random(dtype, {P, B, T, columns}, scale); };
  const auto filled = [&](float value) { return lab.filled({P, B, T, s.heads}, value); };
  const auto unless = [](bool none, const Tensor& t) { return none ? Tensor() : t; };
  const Tensor qkv = random(width, unit), dqkv = random(width, 0);
  const Tensor out = random(shape.value_width(), 0), dout = random(shape.value_width(), 1);
  const kernels::RecurrenceInputs in{.qkv = qkv,
                                     .g = kind.gates ? filled(-0.05F) : lab.filled({1, s.heads}, -0.01F),
                                     .beta = unless(!kind.gates, filled(0.5F)),
                                     .skip = {}};
  const kernels::RecurrenceGradients gradients{
      .dqkv = dqkv, .dg = unless(!kind.gates, filled(0)), .dbeta = unless(!kind.gates, filled(0)), .dskip = {}};
  kernels::Context& ctx = lab.context();
  Measured found{.name = kind.name, .shape = s};
  found.forward = lab.seconds([&] {
    kernels::RecurrenceSaved dropped;
    kernels::recurrence_forward(ctx, shape, in, out, dropped);
  });
  {
    const kernels::ArenaScope scope(ctx.arena);
    kernels::RecurrenceSaved saved;
    kernels::recurrence_forward(ctx, shape, in, out, saved);
    found.backward = lab.seconds([&] { kernels::recurrence_backward(ctx, shape, in, saved, dout, gradients); });
  }
  lab.clear();
  return found;
}

int run(const Options& options) {
  const std::string device = search::worker_devices(options.device).front();
  BenchLab lab(model::device_of(device));
  const std::vector<BenchShape> shapes = lab.on_gpu() ? std::vector(kGpuShapes.begin(), kGpuShapes.end())
                                                      : std::vector(kCpuShapes.begin(), kCpuShapes.end());
  std::vector<Measured> all;
  for (const BenchShape& shape : shapes) {
    for (const Kind& kind : kKinds) all.push_back(measure(lab, kind, shape));
  }
  const std::string where = search::device_text(device), precision = lab.on_gpu() ? "bf16" : "fp32";
  if (options.common.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Measured& m : all) {
      list.push_back({{"mixer", m.name},
                      {"trials", m.shape.trials},
                      {"batch", m.shape.batch},
                      {"context", m.shape.context},
                      {"heads", m.shape.heads},
                      {"dim", m.shape.dim},
                      {"forward_microseconds", m.forward * 1e6},
                      {"backward_microseconds", m.backward * 1e6},
                      {"nanoseconds_per_token", m.ns_per_token()}});
    }
    print(nlohmann::ordered_json{{"device", where}, {"precision", precision}, {"recurrences", list}}.dump(2));
    return exit_ok;
  }
  using search::Align;
  search::Table table{{{"recurrence"},
                       {"trials x sequences x tokens, heads of dim"},
                       {"forward us", Align::right},
                       {"backward us", Align::right},
                       {"ns a token", Align::right}},
                      {}};
  for (const Measured& m : all) {
    const BenchShape& s = m.shape;
    table.rows.push_back({m.name, fmt::format("{} x {} x {}, {} of {}", s.trials, s.batch, s.context, s.heads, s.dim),
                          fmt::format("{:.1f}", m.forward * 1e6), fmt::format("{:.1f}", m.backward * 1e6),
                          fmt::format("{:.1f}", m.ns_per_token())});
  }
  print(fmt::format("{}, {}\n\n", where, precision) + search::text_table(table));
  return exit_ok;
}

}  // namespace

void add_bench_recurrence(Program& program, CLI::App& bench) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, bench, "recurrence", "the recurrences of gdn, mamba2 and lightning alone",
                  "hylas bench recurrence --device cpu --json", options->common, [options] { return run(*options); });
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N")->capture_default_str();
}

}  // namespace hylas::cli
