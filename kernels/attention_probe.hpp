// attention_probe: attention's forward pass for probes of mechanism: a mask with first keys, a switch per head, and
// statistics of the weights of chosen queries. No backward. Never holds T x T.
//
//   qkv        [P, B, T, (H + 2 Hkv) * hd]   as attention_forward takes it (kernels/qkv_rope.hpp: after the rotation)
//   window     [P] i32 >= 1, first_keys [P] i32 >= 0 or absent (0): query t sees the keys t - W + 1 .. t and, of those
//              before them, the keys below first_keys (StreamingLLM's sinks, arXiv 2309.17453)
//   sink       [P, H] or absent, sink_on [P] i32 or absent: as in kernels/attention.hpp
//   head_on    [P, H] i32 or absent: 0 makes the head's output zero (0 even where qkv is not a number)
//   out        [P, B, T, H * hd]
//
// Statistics are those of the attention weights, head_on or not:
//   query      [1, n] i32: b * T + t, the same for all trials, in any order; absent or n = 0: nothing is done
//   answer     [1, n] i32: a position of the same sequence, or -1
//   statistics [P, H, n, 4]   (ProbeStatistic names the columns)
//   top        [P, H, n] i32: the visible key of the largest weight, the lowest among equals; -1 where no score is a
//              number
// The sink takes its share of the weights on answer and previous. The entropy is that of the keys among themselves: of
// the weights divided by their sum, without the sink.
//
// scale = hd^-1/2. f32 and, on the CPU, f64; on a GPU f32 (hd even, at most 256) and bf16 (qkv and out; hd 32, 64 or
// 128); statistics have the dtype stat_dtype() of qkv, sink too. In f32 a score is one chain of fused multiply-adds
// over hd on both devices, bit for bit the same, and so is top; the same is true of bf16 and its values in f32.
// Errors: std::invalid_argument for wrong tensors. The CPU also throws for values out of range; a GPU, where they are
// not seen in advance, takes a window below 1 as 1, first_keys below 0 as 0, an answer out of range as invisible,
// and gives statistics NaN and top -1 of a query out of range.
#pragma once

#include "kernels/context.hpp"
#include "kernels/qkv_rope.hpp"

namespace hylas::kernels {

struct AttentionProbeData {
  Tensor window;
  Tensor first_keys;
  Tensor sink;
  Tensor sink_on;
  Tensor head_on;
};

struct ProbeQueries {
  Tensor query;
  Tensor answer;
};

struct ProbeStatistic {                  // columns of the statistics
  static constexpr int on_answer = 0;    // weight on `answer`; 0 where it is -1 or not visible
  static constexpr int on_previous = 1;  // weight on position t - 1; 0 where it is not visible or t is 0
  static constexpr int entropy = 2;      // in nats
  static constexpr int keys = 3;         // the number of visible keys
  static constexpr int count = 4;
};

void attention_probe_forward(Context& ctx, const Heads& heads, const AttentionProbeData& data, const Tensor& qkv,
                             const Tensor& out);
// Does not read head_on.
void attention_probe_statistics(Context& ctx, const Heads& heads, const AttentionProbeData& data,
                                const ProbeQueries& queries, const Tensor& qkv, const Tensor& statistics,
                                const Tensor& top);

// The keys that queries `query` .. `last` see, in ascending order: 0 .. prefix - 1, then first .. last. For one query
// these are exactly its keys; for several, all that one of them may see.
struct VisibleKeys {
  std::int64_t prefix = 0, first = 0, last = 0;

  constexpr VisibleKeys(std::int64_t query, std::int64_t last_query, std::int64_t window, std::int64_t first_keys)
      : first(query >= window ? query - window + 1 : 0), last(last_query) {
    prefix = first_keys < first ? first_keys : first;
  }
  [[nodiscard]] constexpr std::int64_t count() const { return prefix + last - first + 1; }
  [[nodiscard]] constexpr std::int64_t key(std::int64_t i) const { return i < prefix ? i : i - prefix + first; }
  [[nodiscard]] constexpr bool has(std::int64_t key) const {
    return key >= 0 && key <= last && (key < prefix || key >= first);
  }
};

}  // namespace hylas::kernels
