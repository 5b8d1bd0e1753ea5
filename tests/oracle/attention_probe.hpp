// The oracle of attention_probe: each query tests every key of its past, one at a time, in double. See dense.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "tests/oracle/attention.hpp"

namespace hylas::oracle {

struct ProbeMask {
  std::int64_t window = 1, first_keys = 0;
};

struct ProbeRow {  // one query of one head
  Vector out;
  double on_answer = 0, on_previous = 0, entropy = 0, keys = 0;
  std::int64_t top = -1;
  double lead = INFINITY;  // of the largest logit over the next
};

// Query t of head h of sequence b; sink: the head's logit, or nothing; answer: a position, or -1.
inline ProbeRow attention_probe(const Vector& qkv, const AttentionShape& s, const ProbeMask& mask,
                                std::optional<double> sink, std::int64_t b, std::int64_t h, std::int64_t t,
                                std::int64_t answer) {
  std::vector<std::int64_t> keys;
  Vector logits;
  for (std::int64_t j = 0; j <= t; ++j) {
    if (t - j >= mask.window && j >= mask.first_keys) continue;
    double dot = 0;
    for (std::int64_t c = 0; c < s.dim; ++c) {
      dot += qkv[detail::element(s, b, t, h, c)] * qkv[detail::element(s, b, j, detail::key_head(s, h), c)];
    }
    keys.push_back(j);
    logits.push_back(dot / std::sqrt(static_cast<double>(s.dim)));
  }
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  const double largest = std::max(logits[static_cast<std::size_t>(best)], sink.value_or(-INFINITY));
  double of_keys = 0;
  for (double logit : logits) of_keys += std::exp(logit - largest);
  const double all = of_keys + (sink ? std::exp(*sink - largest) : 0);
  ProbeRow row;
  row.out.assign(static_cast<std::size_t>(s.dim), 0);
  row.keys = static_cast<double>(keys.size());
  row.top = keys[static_cast<std::size_t>(best)];
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const double weight = std::exp(logits[i] - largest) / all;
    const double share = std::exp(logits[i] - largest) / of_keys;
    if (keys[i] == answer) row.on_answer = weight;
    if (keys[i] == t - 1) row.on_previous = weight;
    if (share > 0) row.entropy -= share * std::log(share);
    if (keys[i] != row.top) row.lead = std::min(row.lead, logits[static_cast<std::size_t>(best)] - logits[i]);
    for (std::int64_t c = 0; c < s.dim; ++c) {
      row.out[static_cast<std::size_t>(c)] +=
          weight * qkv[detail::element(s, b, keys[i], detail::key_head(s, h) + s.kv, c)];
    }
  }
  return row;
}

}  // namespace hylas::oracle
