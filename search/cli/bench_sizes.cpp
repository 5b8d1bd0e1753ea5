// See bench_sizes.hpp.
#include "search/cli/bench_sizes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "model/design/input_error.hpp"

namespace hylas::cli {
namespace {

constexpr std::array<BenchSize, 7> sizes = {{
    {"cpu64", 128, 64, 4, 2, 192, 128, 16, false},
    {"cpu128", 128, 128, 4, 2, 384, 512, 8, false},
    {"cpu256", 128, 256, 4, 4, 768, 512, 4, false},
    {"tiny", 512, 128, 4, 2, 384, 1024, 16, true},
    {"small", 4096, 256, 8, 4, 768, 2048, 16, true},
    {"mid", 4096, 512, 12, 8, 1536, 2048, 32, true},
    {"big", 32768, 1024, 16, 16, 3072, 4096, 16, true},
}};

}  // namespace

model::Shape BenchSize::shape() const {
  return {.d_model = d_model,
          .heads = heads,
          .kv_heads = heads,
          .head_dim = d_model / heads,
          .ffn = ffn,
          .vocab = vocab,
          .context = context,
          .tied = tied};
}

std::string BenchSize::layout() const {
  return for_cpu() ? fmt::format("(swa:8 full)*{}", layers / 2) : fmt::format("(swa:128*3 full/nope)*{}", layers / 4);
}

const BenchSize& find_bench_size(const std::string& name) {
  const auto* size = std::find_if(sizes.begin(), sizes.end(), [&](const BenchSize& s) { return s.name == name; });
  if (size != sizes.end()) return *size;
  std::vector<std::string> names;
  std::string listed;
  for (const auto& s : sizes) {
    names.emplace_back(s.name);
    listed += (listed.empty() ? "" : ", ") + names.back();
  }
  const auto guess = model::nearest(name, names);
  throw model::InputError("--size '" + name + "' is none of " + listed +
                          (guess.empty() ? "" : "; did you mean '" + guess + "'?"));
}

}  // namespace hylas::cli
