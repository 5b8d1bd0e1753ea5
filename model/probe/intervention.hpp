// Interventions: what a probe changes in a trained model before it evaluates it again (TASKS.md 6). The weights stay.
//
//   receptive-field cut   layers of one kind see a window plus the first k keys of the sequence (StreamingLLM's sinks)
//   head ablation         chosen heads give zero
//
// Heads are numbered over all attention layers, head h of the i-th attention layer is i * heads + h.
// Errors: asserts for indices out of range. Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/design/design.hpp"

namespace hylas::model {

struct Intervention {
  Layout layout;                         // the design's, or with other windows
  std::vector<std::int32_t> first_keys;  // of each layer
  std::vector<std::int32_t> head_on;     // [attention layers * heads]
};

// How many layers of the layout have attention.
[[nodiscard]] std::int64_t attention_layers(const Layout& layout);
// The design as it is: for a checkpoint from before its windows had grown (design/window_growth.hpp), the final ones.
[[nodiscard]] Intervention intact(const Design& design);
// Full layers see `window` keys and the first `first_keys`. The same bits as intact() where window >= context.
[[nodiscard]] Intervention cut_full_layers(const Design& design, std::int32_t window, std::int32_t first_keys);
// Windows of swa layers become min(W, window); no first keys, which they did not see before either.
[[nodiscard]] Intervention cut_window_layers(const Design& design, std::int32_t window);
[[nodiscard]] Intervention without_heads(const Design& design, std::span<const int> heads);

// The `count` heads of the highest scores, highest first, the lower index first among equals; NaN counts as lowest.
[[nodiscard]] std::vector<int> top_heads(std::span<const double> scores, std::int64_t count);
// `draws` sets of `count` different heads out of `heads`, none of them in `excluded`; a function of the arguments. No
// sets where fewer than `count` are left.
[[nodiscard]] std::vector<std::vector<int>> random_heads(std::int64_t heads, std::int64_t count, std::int64_t draws,
                                                         std::uint64_t seed, std::span<const int> excluded = {});

}  // namespace hylas::model
