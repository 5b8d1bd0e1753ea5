// The sizes of proxies that `hylas bench` measures, by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "model/design/design.hpp"

namespace hylas::cli {

// The cpu sizes are those of the PyTorch CPU baseline (untied), the others of the GPU one (tied).
struct BenchSize {
  std::string_view name;
  std::int64_t vocab, d_model, layers, heads, ffn, context, batch;
  bool tied;

  [[nodiscard]] bool for_cpu() const { return name.substr(0, 3) == "cpu"; }
  [[nodiscard]] model::Shape shape() const;
  [[nodiscard]] std::string layout() const;  // (swa:8 full)*k for the cpu sizes, else (swa:128*3 full/nope)*k
};

// Throws InputError with the nearest name there is.
[[nodiscard]] const BenchSize& find_bench_size(const std::string& name);

}  // namespace hylas::cli
