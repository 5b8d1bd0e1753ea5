// What the tests of fitting/ share: simulated runs, the folder of public data, derivatives by finite differences.
#pragma once

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "fitting/emergence.hpp"
#include "fitting/random.hpp"
#include "fitting/solver.hpp"

namespace hylas::fitting::testing {

// ../shared/data beside the checkout, or HYLAS_PUBLIC_DATA; none where the file is missing.
inline std::optional<std::filesystem::path> public_data(const std::string& name) {
  const char* folder = std::getenv("HYLAS_PUBLIC_DATA");
  const auto file = (folder != nullptr ? std::filesystem::path(folder)
                                       : std::filesystem::path(HYLAS_SOURCE_DIR) / ".." / "shared" / "data") /
                    name;
  if (!std::filesystem::exists(file)) return std::nullopt;
  return file;
}

// The simulation of MATHS 3, "Why censoring": 4 sizes x 3 windows x NoPE x 3 seeds = 72 runs, true window effect .30;
// evaluations every half octave from 5e8, and at d_max. Its truth: ln D50 of a design.
inline double censoring_log_d50(double n, double w, double nope) {
  return std::log(5e9) - 0.35 * std::log(n / 31e6) + 0.30 * std::log(w / 128) - 0.60 * nope;
}
inline std::vector<double> censoring_grid(double d_max) {
  std::vector<double> grid;
  for (double d = 5e8; d < 0.99 * d_max; d *= std::sqrt(2.0)) grid.push_back(d);
  grid.push_back(d_max);
  return grid;
}
struct CensoringStudy {
  double d_max = 4e9;
  int seeds = 3;
  double sigma = 0.30;
  double pi = 1;  // share of the runs that can emerge
  std::vector<double> sizes = {15e6, 31e6, 65e6, 104e6};
};
inline std::vector<EmergenceRun> censoring_study(std::uint64_t seed, std::uint64_t repetition,
                                                 const CensoringStudy& study) {
  Stream stream(seed, repetition);
  std::vector<EmergenceRun> runs;
  for (const double n : study.sizes) {
    for (const double w : {128.0, 512.0, 2048.0}) {
      for (const int nope : {0, 1}) {
        for (int s = 0; s < study.seeds; ++s) {
          double log_time = censoring_log_d50(n, w, nope) + study.sigma * stream.normal();
          if (study.pi < 1 && stream.uniform() > study.pi) log_time = kInfinity;
          EmergenceRun run;
          run.design = std::to_string(n) + "/" + std::to_string(w) + "/" + std::to_string(nope);
          run.seed = s;
          run.x = {n, w, 0.5, static_cast<double>(nope), 0, {}};
          for (const double d : censoring_grid(study.d_max)) {
            run.d_max = d;
            if (std::log(d) >= log_time) {
              run.d_after = d;
              break;
            }
            run.d_before = d;
          }
          runs.push_back(run);
        }
      }
    }
  }
  return runs;
}
inline std::vector<EmergenceRun> censoring_study(std::uint64_t seed, std::uint64_t repetition, double d_max) {
  return censoring_study(seed, repetition, CensoringStudy{.d_max = d_max});
}

// Largest error of gradient and Hessian against central differences, relative to the largest entry of each.
struct DerivativeError {
  double gradient = 0, hessian = 0, value = 0;
};
inline DerivativeError check_derivatives(const Objective& objective, const Vector& theta, double step = 1e-5) {
  Vector gradient, up, down;
  Matrix hessian, unused;
  DerivativeError error;
  const double value = objective.derivatives(theta, gradient, hessian);
  error.value = std::abs(value - objective.value(theta)) / (1 + std::abs(value));
  for (int j = 0; j < objective.size(); ++j) {
    Vector shifted = theta;
    const double h = step * std::max(1.0, std::abs(theta[j]));
    shifted[j] = theta[j] + h;
    const double high = objective.derivatives(shifted, up, unused);
    shifted[j] = theta[j] - h;
    const double low = objective.derivatives(shifted, down, unused);
    error.gradient = std::max(error.gradient, std::abs((high - low) / (2 * h) - gradient[j]));
    error.hessian = std::max(error.hessian, ((up - down) / (2 * h) - hessian.col(j)).cwiseAbs().maxCoeff());
  }
  error.gradient /= gradient.cwiseAbs().maxCoeff();
  error.hessian /= hessian.cwiseAbs().maxCoeff();
  return error;
}

}  // namespace hylas::fitting::testing
