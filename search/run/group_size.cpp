// See group_size.hpp.
#include "search/run/group_size.hpp"

#include <algorithm>
#include <cmath>

#include "model/design/cost.hpp"
#include "search/run/records.hpp"

namespace hylas::search {
namespace {

constexpr double bytes_per_parameter = 16;  // weight, two moments, and a share of gradients
constexpr double share_of_memory = 0.5;

std::size_t fitting_on_host(const model::TrialSpec& trial) {
  const double memory = available_memory_bytes();
  if (memory <= 0) return most_in_lockstep;
  const auto parameters = static_cast<double>(model::cost_of(trial.design).parameters_total);
  const double fitting = share_of_memory * memory / (bytes_per_parameter * std::max(1.0, parameters));
  return static_cast<std::size_t>(std::clamp(fitting, 1.0, static_cast<double>(most_in_lockstep)));
}

}  // namespace

std::size_t group_limit(const model::TrialSpec& trial, const SweepOptions& options, const std::string& device) {
  const bool asked = options.max_cohort > 0;
  const std::size_t limit = asked ? std::min(options.max_cohort, most_in_lockstep) : most_in_lockstep;
  if (model::device_of(device).kind == kernels::DeviceKind::cuda) {
    const std::size_t fitting = model::trials_that_fit(trial, {options.threads, device, options.gpu_bytes});
    return std::clamp<std::size_t>(fitting, 1, limit);
  }
  return asked ? limit : fitting_on_host(trial);
}

std::size_t share_of_group(std::size_t workers, double of_key, double flops_left, double flops_of_one) {
  if (workers < 2) return most_in_lockstep;
  const auto parts = static_cast<double>(workers);
  const double share =
      std::max(std::ceil(of_key / parts), std::floor(flops_left / parts / std::max(1.0, flops_of_one)));
  return static_cast<std::size_t>(std::clamp(share, 1.0, static_cast<double>(most_in_lockstep)));
}

}  // namespace hylas::search
