// Devices by their words, and what the driver says about them (see devices.hpp).
#include "search/run/devices.hpp"

#include <fmt/format.h>

#include <exception>

#include "kernels/cuda/runtime.hpp"

namespace hylas::search {
namespace {

using kernels::DeviceKind;

// "" where hylas can use this GPU, else why not.
std::string fault_of(int index) {
  try {
    const kernels::cuda::Runtime runtime(index);
    return "";
  } catch (const kernels::cuda::OutOfDeviceMemory&) {
    return "";  // full at present, not useless
  } catch (const kernels::cuda::CudaError& error) {
    return error.what();
  }
}

}  // namespace

std::vector<std::string> worker_devices(const std::string& device) {
  const kernels::Device first = model::device_of(device);
  if (first.kind == DeviceKind::cpu) return {"cpu"};
  const bool all = device == "cuda" || device == "auto";
  const int end = all ? kernels::cuda::gpu_count() : first.index + 1;
  std::vector<std::string> devices;
  std::string fault;
  for (int index = first.index; index < end; ++index) {
    const std::string found = fault_of(index);
    if (found.empty()) devices.push_back(fmt::format("cuda:{}", index));
    if (fault.empty()) fault = found;
  }
  if (!devices.empty()) return devices;
  if (device == "auto") return {"cpu"};
  throw model::DeviceError(fmt::format("device '{}' cannot be used: {}; use --device cpu", device, fault));
}

void check_trainable_on(const model::TrialSpec& trial, const std::string& asked, const std::string& device) {
  if (asked == "auto" && device == "cpu" && trial.recipe.precision == "bf16") {
    const std::string why = kernels::cuda::gpu_absence();
    throw model::InputError(fmt::format(
        "recipe.precision is bf16, which needs a GPU, and --device auto found none that it can use{}; run it where a "
        "GPU is, or use precision = \"fp32\"",
        why.empty() ? "" : " (" + why + ")"));
  }
  model::check_trainable(trial, {.device = device});
}

std::string device_text(const std::string& device) {
  const kernels::Device found = model::device_of(device);
  if (found.kind == DeviceKind::cpu) return "cpu";
  return fmt::format("cuda:{} {}", found.index, kernels::cuda::Runtime(found.index).info().name);
}

bool device_works(const std::string& device) noexcept {
  try {
    const kernels::Device found = model::device_of(device);
    if (found.kind == DeviceKind::cpu) return true;
    const kernels::cuda::Runtime runtime(found.index);
    runtime.synchronize();
    return true;
  } catch (const kernels::cuda::OutOfDeviceMemory&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace hylas::search
