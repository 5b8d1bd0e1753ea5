// hylas bench fit: approach 3 on 240 points (one fit, 4,000 bootstraps, the published grid of 4,500 starts) and F3 with
// eight covariates on 500 runs, timed on one thread beside what is asked of them. The data are simulated, the same on
// every machine; --dump writes the 240 points for a baseline (tests/bench/fit_scipy.py).
#include "search/cli/bench_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "fitting/emergence.hpp"
#include "fitting/loss.hpp"
#include "fitting/random.hpp"
#include "search/cli/exit_code.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string dump;
};

constexpr double noise = 0.01;  // sd of ln L; residuals of public fits are of this size
constexpr int replicates = 4000;

// 15 sizes x 16 token counts of the law that Chinchilla published, with noise.
fitting::LossData loss_points() {
  fitting::Stream stream(240, 0);
  std::vector<double> n, d, loss;
  for (int i = 0; i < 15; ++i) {
    for (int j = 0; j < 16; ++j) {
      n.push_back(5e7 * std::pow(10, 2.5 * i / 14));
      d.push_back(1e9 * std::pow(10, 2.5 * j / 15));
      const double truth = 1.69 + 406.4 * std::pow(n.back(), -0.34) + 410.7 * std::pow(d.back(), -0.28);
      loss.push_back(truth * std::exp(noise * stream.normal()));
    }
  }
  return fitting::LossData::of(n, d, loss);
}

// The starts of Hoffmann et al. (arXiv 2203.15556, D.3) as values of E, A, B, alpha, beta.
std::vector<std::vector<double>> published_grid() {
  std::vector<std::vector<double>> starts;
  for (const double alpha : {0.0, 0.5, 1.0, 1.5, 2.0}) {
    for (const double beta : {0.0, 0.5, 1.0, 1.5, 2.0}) {
      for (const double e : {-1.0, -0.5, 0.0, 0.5, 1.0}) {
        for (const double a : {0.0, 5.0, 10.0, 15.0, 20.0, 25.0}) {
          for (const double b : {0.0, 5.0, 10.0, 15.0, 20.0, 25.0}) {
            starts.push_back({std::exp(e), std::exp(a), std::exp(b), alpha, beta});
          }
        }
      }
    }
  }
  return starts;
}

// 500 runs of designs in eight covariates; evaluations every 8% of tokens, one run in 20 never emerges.
std::vector<fitting::EmergenceRun> emergence_runs() {
  std::vector<fitting::EmergenceRun> runs;
  fitting::Stream stream(500, 0);
  for (int i = 0; i < 500; ++i) {
    fitting::EmergenceRun run;
    run.design = "simulated";
    run.seed = i;
    run.x.parameters = 15e6 * std::exp2(static_cast<double>(stream.below(4)));
    run.x.window = 64 * std::exp2(static_cast<double>(stream.below(6)));
    run.x.full_fraction = 1.0 / static_cast<double>(2 + stream.below(5));
    run.x.nope = static_cast<double>(stream.below(2));
    run.x.sink = static_cast<double>(stream.below(2));
    const double n = std::log(run.x.parameters / 31e6), w = std::log(run.x.window / 512);
    const double mu = std::log(5e9) - 0.35 * n + 0.30 * w + 0.05 * w * w - 0.60 * run.x.nope - 0.20 * run.x.nope * w +
                      0.05 * w * n - 0.25 * std::log(run.x.full_fraction) - 0.10 * run.x.sink;
    const double at = stream.uniform() < 0.05 ? fitting::kInfinity : std::exp(mu + 0.30 * stream.normal());
    // Evaluations from 5e8 tokens on; the last is the first beyond 3e10.
    for (run.d_max = 5e8; run.d_max < 3e10; run.d_max *= 1.08) {
      if (run.d_max < at) run.d_before = run.d_max;
    }
    if (run.d_max < at) run.d_before = run.d_max;
    if (run.d_before < run.d_max) run.d_after = run.d_before > 0 ? run.d_before * 1.08 : 5e8;
    runs.push_back(run);
  }
  return runs;
}

struct Result {
  std::string name, what, unit;
  double value = 0, target = 0;  // in `unit`
  double cpu = 0;                // of the process, in seconds: what the figure would be on an idle machine
  fitting::Fit fit;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Medians of several calls.
Result measured(std::string name, std::string what, std::string unit, double target, int times,
                const std::function<fitting::Fit()>& body) {
  using Clock = std::chrono::steady_clock;
  Result result{std::move(name), std::move(what), std::move(unit), 0, target, 0, {}};
  std::vector<double> wall, cpu;
  for (int i = 0; i < times; ++i) {
    const auto cpu_start = std::clock();
    const auto start = Clock::now();
    result.fit = body();
    wall.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    cpu.push_back(static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC);
  }
  result.value = (result.unit == "ms" ? 1e3 : 1) * median(wall);
  result.cpu = median(cpu);
  return result;
}

std::vector<Result> measure(const fitting::LossData& points, int threads) {
  fitting::LossOptions plain;
  plain.intervals = fitting::LossIntervals::none;
  plain.threads = threads;
  auto bootstrap = plain;
  bootstrap.intervals = fitting::LossIntervals::bootstrap;
  bootstrap.bootstrap = replicates;
  auto grid = plain;
  grid.start_at = published_grid();
  fitting::EmergenceOptions law;
  law.terms = {"ln_N",           "ln_window",      "ln_window^2",      "nope",
               "nope*ln_window", "ln_window*ln_N", "ln_full_fraction", "sink"};
  law.threads = threads;
  const auto runs = emergence_runs();
  const auto chinchilla = [&](const fitting::LossOptions& options) {
    return fitting::fit_loss("chinchilla", points, options).fit;
  };
  return {measured("fit", "approach 3 on 240 points", "ms", 10, 51, [&] { return chinchilla(plain); }),
          measured("bootstrap", fmt::format("{} bootstraps of it", replicates), "s", 1, 3,
                   [&] { return chinchilla(bootstrap); }),
          measured("grid", fmt::format("its {} published starts", grid.start_at.size()), "s", 7, 1,
                   [&] { return chinchilla(grid); }),
          measured("emergence", "F3, 8 covariates, 500 runs, all profiles", "s", 1, 3,
                   [&] { return fitting::fit_emergence_time(runs, law).fit; })};
}

nlohmann::ordered_json as_json(const std::vector<Result>& results, const fitting::LossData& points, int threads) {
  nlohmann::ordered_json json{{"threads", threads}, {"points", points.rows()}, {"replicates", replicates}};
  for (const auto& r : results) {
    auto parameters = nlohmann::ordered_json::object();
    for (const auto& p : r.fit.parameters) {
      parameters[p.name] = {{"estimate", p.estimate}};
      if (r.fit.interval_method != "none") parameters[p.name]["ci90"] = {p.ci_low, p.ci_high};
    }
    json[r.name] = {{"what", r.what},
                    {r.unit == "ms" ? "milliseconds" : "seconds", r.value},
                    {"cpu_seconds", r.cpu},
                    {"target", r.target},
                    {"met", r.value <= r.target},
                    {"objective", r.fit.objective},
                    {"converged", r.fit.converged},
                    {"starts", r.fit.starts},
                    {"starts_agreeing", r.fit.starts_agreeing},
                    {"parameters", parameters}};
  }
  return json;
}

std::string as_text(const std::vector<Result>& results, int threads) {
  std::string text = fmt::format("fits on {} thread{}\n", threads, threads == 1 ? "" : "s");
  for (const auto& r : results) {
    text += fmt::format(
        "  {:<41} {:>8.3f} {:<2} (target {:g} {}{}; CPU time {:.3f} s)  objective {:.9g}, {} of {} starts agree{}\n",
        r.what, r.value, r.unit, r.target, r.unit, r.value <= r.target ? "" : ", MISSED", r.cpu, r.fit.objective,
        r.fit.starts_agreeing, r.fit.starts, r.fit.converged ? "" : ", NOT converged");
  }
  return text;
}

int run(const Options& options) {
  const int threads = std::max(1, options.common.threads);
  const auto points = loss_points();
  if (!options.dump.empty()) {
    std::string csv = "N,D,loss\n";
    for (std::size_t i = 0; i < points.rows(); ++i) {
      csv += fmt::format("{},{},{}\n", points.at("N")[i], points.at("D")[i], points.loss[i]);
    }
    write_file(options.dump, csv);
  }
  const auto results = measure(points, threads);
  print(options.common.json ? as_json(results, points, threads).dump(2) : as_text(results, threads));
  return exit_ok;
}

}  // namespace

void add_bench_fit(Program& program, CLI::App& bench) {
  auto options = std::make_shared<Options>();
  auto* command =
      add_command(program, bench, "fit", "fits of laws on simulated data, on one thread unless --threads says",
                  "hylas bench fit --dump points.csv --json", options->common, [options] { return run(*options); });
  command->add_option("--dump", options->dump, "also write the 240 points (N, D, loss) as CSV");
}

}  // namespace hylas::cli
