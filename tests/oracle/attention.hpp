// The oracle of attention and RoPE: a softmax over the visible keys of each query, nothing blocked. See dense.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>

#include "tests/oracle/dense.hpp"

namespace hylas::oracle {

struct AttentionShape {
  std::int64_t batch = 1, length = 1, query = 1, kv = 1, dim = 2;
  [[nodiscard]] std::int64_t width() const { return (query + 2 * kv) * dim; }
};

namespace detail {

struct Row {  // the probabilities of one query over keys first, first + 1, ...
  std::int64_t first = 0;
  Vector p;
  double lse = 0;
};

// Where element c of head `head` (counted over queries, keys, values) of position t of sequence b lies.
inline std::size_t element(const AttentionShape& s, std::int64_t b, std::int64_t t, std::int64_t head, std::int64_t c) {
  return static_cast<std::size_t>((b * s.length + t) * s.width() + head * s.dim + c);
}

inline std::size_t out_element(const AttentionShape& s, std::int64_t b, std::int64_t t, std::int64_t h,
                               std::int64_t c) {
  return static_cast<std::size_t>(((b * s.length + t) * s.query + h) * s.dim + c);
}

inline std::int64_t key_head(const AttentionShape& s, std::int64_t h) {
  return s.query + h / (s.query / s.kv);
}

inline Row probabilities(const Vector& qkv, const AttentionShape& s, std::int64_t window,
                         const std::optional<Vector>& sink, std::int64_t b, std::int64_t h, std::int64_t i) {
  Row row;
  row.first = std::max<std::int64_t>(0, i - window + 1);
  double largest = sink ? (*sink)[static_cast<std::size_t>(h)] : -INFINITY;
  for (std::int64_t j = row.first; j <= i; ++j) {
    double score = 0;
    for (std::int64_t c = 0; c < s.dim; ++c)
      score += qkv[detail::element(s, b, i, h, c)] * qkv[detail::element(s, b, j, detail::key_head(s, h), c)];
    row.p.push_back(score / std::sqrt(static_cast<double>(s.dim)));
    largest = std::max(largest, row.p.back());
  }
  double sum = sink ? std::exp((*sink)[static_cast<std::size_t>(h)] - largest) : 0;
  for (double score : row.p) sum += std::exp(score - largest);
  row.lse = largest + std::log(sum);
  for (double& score : row.p) score = std::exp(score - row.lse);
  return row;
}

}  // namespace detail

// Rotates in place the query and key heads of qkv [B, T, (H + 2 Hkv) hd]; sign -1: the transposed rotation.
inline void rope(Vector& qkv, const AttentionShape& s, double theta, int sign) {
  const std::int64_t half = s.dim / 2;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t t = 0; t < s.length; ++t) {
      for (std::int64_t head = 0; head < s.query + s.kv; ++head) {
        for (std::int64_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(sign * t) *
                               std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(s.dim));
          const double x = qkv[detail::element(s, b, t, head, i)];
          const double y = qkv[detail::element(s, b, t, head, i + half)];
          qkv[detail::element(s, b, t, head, i)] = x * std::cos(angle) - y * std::sin(angle);
          qkv[detail::element(s, b, t, head, i + half)] = y * std::cos(angle) + x * std::sin(angle);
        }
      }
    }
  }
}

struct Attention {
  Vector out, lse;
};

// window in keys; sink [H] or nothing.
inline Attention attention(const Vector& qkv, const AttentionShape& s, std::int64_t window,
                           const std::optional<Vector>& sink) {
  Attention a{Vector(static_cast<std::size_t>(s.batch * s.length * s.query * s.dim)), {}};
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.query; ++h) {
      for (std::int64_t i = 0; i < s.length; ++i) {
        const detail::Row row = detail::probabilities(qkv, s, window, sink, b, h, i);
        a.lse.push_back(row.lse);
        for (std::size_t j = 0; j < row.p.size(); ++j) {
          for (std::int64_t c = 0; c < s.dim; ++c) {
            const auto key = row.first + static_cast<std::int64_t>(j);
            a.out[detail::out_element(s, b, i, h, c)] +=
                row.p[j] * qkv[detail::element(s, b, key, detail::key_head(s, h) + s.kv, c)];
          }
        }
      }
    }
  }
  return a;
}

struct AttentionGradient {
  Vector dqkv, dsink;
};

inline AttentionGradient attention_backward(const Vector& dout, const Vector& qkv, const AttentionShape& s,
                                            std::int64_t window, const std::optional<Vector>& sink) {
  AttentionGradient g{Vector(qkv.size()), Vector(static_cast<std::size_t>(s.query))};
  const double scale = 1 / std::sqrt(static_cast<double>(s.dim));
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.query; ++h) {
      const std::int64_t kh = detail::key_head(s, h);
      for (std::int64_t i = 0; i < s.length; ++i) {
        const detail::Row row = detail::probabilities(qkv, s, window, sink, b, h, i);
        Vector dp(row.p.size());
        double mean = 0;  // sum of p dp: what the softmax takes off every logit's gradient
        for (std::size_t n = 0; n < row.p.size(); ++n) {
          const std::int64_t j = row.first + static_cast<std::int64_t>(n);
          for (std::int64_t c = 0; c < s.dim; ++c) {
            dp[n] += dout[detail::out_element(s, b, i, h, c)] * qkv[detail::element(s, b, j, kh + s.kv, c)];
            g.dqkv[detail::element(s, b, j, kh + s.kv, c)] += row.p[n] * dout[detail::out_element(s, b, i, h, c)];
          }
          mean += row.p[n] * dp[n];
        }
        for (std::size_t n = 0; n < row.p.size(); ++n) {
          const std::int64_t j = row.first + static_cast<std::int64_t>(n);
          const double dscore = scale * row.p[n] * (dp[n] - mean);
          for (std::int64_t c = 0; c < s.dim; ++c) {
            g.dqkv[detail::element(s, b, i, h, c)] += dscore * qkv[detail::element(s, b, j, kh, c)];
            g.dqkv[detail::element(s, b, j, kh, c)] += dscore * qkv[detail::element(s, b, i, h, c)];
          }
        }
        if (sink) {
          g.dsink[static_cast<std::size_t>(h)] -= std::exp((*sink)[static_cast<std::size_t>(h)] - row.lse) * mean;
        }
      }
    }
  }
  return g;
}

}  // namespace hylas::oracle
