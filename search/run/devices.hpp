// Which devices a sweep uses: one worker each (worker.hpp).
//
// Errors: InputError for a word that is no device, DeviceError for a device that is not there or too old to train.
// Thread-safety: pure functions, but for the driver's state.
#pragma once

#include <string>
#include <vector>

#include "model/cohort.hpp"

namespace hylas::search {

// auto: every GPU of this machine that hylas can use, else the CPU. cuda: every GPU. cuda:N, cpu: that one.
[[nodiscard]] std::vector<std::string> worker_devices(const std::string& device);
// Throws what model::check_trainable() throws. `asked` is the word that led to `device`: where auto found no GPU, the
// message says so.
void check_trainable_on(const model::TrialSpec& trial, const std::string& asked, const std::string& device);
// "cpu", "cuda:0 NVIDIA H200": what is stored beside results.
[[nodiscard]] std::string device_text(const std::string& device);
// Whether the device still answers. A GPU that a kernel has brought down does not, until the process has ended.
[[nodiscard]] bool device_works(const std::string& device) noexcept;

}  // namespace hylas::search
