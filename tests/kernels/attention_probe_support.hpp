// What the tests of attention_probe on the CPU and on a GPU share: random cases, and what the oracle says of them.
#pragma once

#include <algorithm>
#include <array>
#include <optional>

#include "kernels/attention_probe.hpp"
#include "tests/kernels/support.hpp"
#include "tests/oracle/attention_probe.hpp"

namespace hylas::test {

struct ProbeCase {
  oracle::AttentionShape shape;
  // One entry a trial; empty: the tensor is absent.
  std::vector<Ints> window, first_keys, sink_on, head_on;
  Trials qkv, sink;
  std::vector<Ints> query, answer;  // [1][n]

  [[nodiscard]] std::int64_t trials() const { return static_cast<std::int64_t>(window.size()); }
  [[nodiscard]] std::int64_t queries() const { return static_cast<std::int64_t>(query[0].size()); }
  [[nodiscard]] std::optional<double> sink_of(std::size_t p, std::int64_t h) const {
    if (sink_on.empty() || sink_on[p][0] == 0) return std::nullopt;
    return sink[p][at(h)];
  }
  [[nodiscard]] oracle::ProbeMask mask(std::size_t p) const {
    return {window[p][0], first_keys.empty() ? 0 : first_keys[p][0]};
  }
};

struct ProbeOutputs {  // of each trial
  Trials out, statistics, top;
};

inline std::vector<Ints> one_each(const Ints& values) {
  std::vector<Ints> v;
  for (int x : values) v.push_back({x});
  return v;
}

// A trial for each window; first_keys and sink_on: one value a trial, or empty. Every second head or so is off where
// `switches`; n queries, the first and the last position among them, with answers anywhere, also where they are
// invisible.
inline ProbeCase probe_case(Random& random, const oracle::AttentionShape& s, const Ints& windows,
                            const Ints& first_keys, const Ints& sink_on, bool switches, std::int64_t n) {
  ProbeCase c;
  c.shape = s;
  c.window = one_each(windows);
  c.first_keys = one_each(first_keys);
  c.sink_on = one_each(sink_on);
  c.qkv = random.trials(c.trials(), s.batch * s.length * s.width());
  c.sink = random.trials(c.trials(), s.query);
  for (std::int64_t p = 0; switches && p < c.trials(); ++p) c.head_on.push_back(random.integers(s.query, 0, 1));
  c.query = {random.integers(n, 0, static_cast<int>(s.batch * s.length) - 1)};
  c.query[0].front() = static_cast<std::int32_t>(s.batch * s.length) - 1;
  c.query[0].back() = 0;
  c.answer = {random.integers(n, -1, static_cast<int>(s.length) - 1)};
  return c;
}

inline oracle::ProbeRow oracle_row(const ProbeCase& c, std::size_t p, std::int64_t h, std::int64_t query,
                                   std::int64_t answer) {
  const std::int64_t length = c.shape.length;
  return oracle::attention_probe(c.qkv[p], c.shape, c.mask(p), c.sink_of(p, h), query / length, h, query % length,
                                 answer);
}

// Makes all keys of the first key head of a sequence one and the same up to a last bit of f32 here and there, so that
// rounding decides which has the largest score.
inline void make_near_ties(Random& random, ProbeCase& c) {
  const auto& s = c.shape;
  for (auto& qkv : c.qkv) {
    const Ints bits = random.integers(s.length * s.dim, -1, 1);
    for (std::int64_t i = 0; i < s.length * s.dim; ++i) {
      const double key = qkv[at(s.query * s.dim + i % s.dim)];
      const double step = key - static_cast<double>(std::nextafter(static_cast<float>(key), 0.0F));
      qkv[at(i / s.dim * s.width() + s.query * s.dim + i % s.dim)] = i < s.dim ? key : key + bits[at(i)] * step;
    }
  }
}

// The key of the largest score by one chain of fused multiply-adds in f32, for query t of sequence 0 and head 0 under
// full attention.
inline double chained_top(const ProbeCase& c, std::size_t p, std::int64_t t) {
  const auto& s = c.shape;
  float best = -std::numeric_limits<float>::infinity();
  std::int64_t top = -1;
  for (std::int64_t j = 0; j <= t; ++j) {
    float dot = 0;
    for (std::int64_t i = 0; i < s.dim; ++i) {
      dot = std::fma(static_cast<float>(c.qkv[p][at(t * s.width() + i)]),
                     static_cast<float>(c.qkv[p][at(j * s.width() + s.query * s.dim + i)]), dot);
    }
    if (dot > best) top = j;
    best = std::max(best, dot);
  }
  return static_cast<double>(top);
}

inline Vector expected_out(const ProbeCase& c, std::size_t p) {
  const auto& s = c.shape;
  Vector out(at(s.batch * s.length * s.query * s.dim));
  for (std::int64_t i = 0; i < s.batch * s.length; ++i) {
    for (std::int64_t h = 0; h < s.query; ++h) {
      if (!c.head_on.empty() && c.head_on[p][at(h)] == 0) continue;
      const Vector row = oracle_row(c, p, h, i, -1).out;
      std::copy(row.begin(), row.end(), out.begin() + (i * s.query + h) * s.dim);
    }
  }
  return out;
}

// Column by column, so that large numbers do not hide errors in small ones. Where two logits are closer than
// `limit`, their order may differ.
inline void check_statistics(const ProbeCase& c, std::size_t p, const Vector& statistics, const Vector& top,
                             double limit) {
  constexpr int columns = kernels::ProbeStatistic::count;
  std::array<Vector, columns> expected, got;
  int wrong = 0;
  for (std::int64_t i = 0; i < c.shape.query * c.queries(); ++i) {
    const std::int64_t query = i % c.queries();
    const auto row = oracle_row(c, p, i / c.queries(), c.query[0][at(query)], c.answer[0][at(query)]);
    const double values[columns] = {row.on_answer, row.on_previous, row.entropy, row.keys};
    for (std::size_t k = 0; k < columns; ++k) {
      expected[k].push_back(values[k]);
      got[k].push_back(statistics[at(i) * columns + k]);
    }
    if (row.lead > limit && top[at(i)] != static_cast<double>(row.top)) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(error(got[kernels::ProbeStatistic::on_answer], expected[0]) < limit);
  CHECK(error(got[kernels::ProbeStatistic::on_previous], expected[1]) < limit);
  CHECK(error(got[kernels::ProbeStatistic::entropy], expected[2]) < limit);
  CHECK(got[kernels::ProbeStatistic::keys] == expected[3]);
}

}  // namespace hylas::test
