// CPU: attention_probe (kernels/attention_probe.hpp): for every query the scores of all its keys, then their softmax.
//
// Clear before fast: the keys of a head are transposed once, so that a vector holds one component of many keys and each
// score is a chain of fused multiply-adds in the order of the components; nothing is blocked over queries.
#include "kernels/attention_probe.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/vec.hpp"
#include "kernels/stat_dtype.hpp"

namespace hylas::kernels::cpu {

namespace {

constexpr std::int64_t block_keys = 32;  // keys whose scores grow side by side
constexpr int bytes = 32;                // of a vector, as in the build's own loops (loops.cpp)

void check_probe(const cpu::Check& check, const Heads& heads, const AttentionProbeData& data, const Tensor& qkv) {
  check.require(heads.dim >= 1 && heads.query >= 1 && heads.kv >= 1 && heads.query % heads.kv == 0,
                "KV heads should divide the query heads, are " + std::to_string(heads.kv) + " and " +
                    std::to_string(heads.query) + " of dim " + std::to_string(heads.dim));
  const std::int64_t trials = qkv.trials();
  const std::int64_t any = cpu::Check::any;
  check.tensor("qkv", qkv, qkv.dtype(), {trials, any, any, (heads.query + 2 * heads.kv) * heads.dim});
  check.tensor("window", data.window, DType::i32, {trials});
  if (data.first_keys.defined()) check.tensor("first_keys", data.first_keys, DType::i32, {trials});
  if (data.sink.defined()) check.tensor("sink", data.sink, qkv.dtype(), {trials, heads.query});
  if (data.sink_on.defined()) check.tensor("sink_on", data.sink_on, DType::i32, {trials});
  if (data.head_on.defined()) check.tensor("head_on", data.head_on, DType::i32, {trials, heads.query});
  const auto at_least = [&](const char* name, const Tensor& t, std::int32_t least) {
    for (std::int64_t p = 0; t.defined() && p < trials; ++p) {
      const auto value = *t.trial<std::int32_t>(p);
      check.require(value >= least, std::string(name) + " of trial " + std::to_string(p) + " should be at least " +
                                        std::to_string(least) + ", is " + std::to_string(value));
    }
  };
  at_least("window", data.window, 1);
  at_least("first_keys", data.first_keys, 0);
}

void check_queries(const cpu::Check& check, const ProbeQueries& queries, const Tensor& qkv) {
  check.tensor("query", queries.query, DType::i32, {1, cpu::Check::any});
  const std::int64_t n = queries.query.dim(1);
  check.tensor("answer", queries.answer, DType::i32, {1, n});
  const auto within = [&](const char* name, const Tensor& t, std::int64_t least, std::int64_t end) {
    for (std::int64_t i = 0; i < n; ++i) {
      const auto value = t.trial<std::int32_t>()[i];
      check.require(value >= least && value < end, std::string(name) + " " + std::to_string(i) + " should be in [" +
                                                       std::to_string(least) + ", " + std::to_string(end) + "), is " +
                                                       std::to_string(value));
    }
  };
  within("query", queries.query, 0, qkv.dim(1) * qkv.dim(2));
  within("answer", queries.answer, -1, qkv.dim(2));
}

// The queries of one trial against one sequence and key head at a time.
template <class T>
class TrialProbe {
 public:
  TrialProbe(Context& ctx, const Heads& heads, const AttentionProbeData& data, const Tensor& qkv, std::int64_t p)
      : heads_(heads),
        length_(qkv.dim(2)),
        width_(qkv.dim(3)),
        padded_((length_ + block_keys - 1) / block_keys * block_keys + block_keys),
        scale_(static_cast<T>(1.0 / std::sqrt(static_cast<double>(heads.dim)))),
        window_(*data.window.trial<std::int32_t>(p)),
        first_keys_(data.first_keys.defined() ? *data.first_keys.trial<std::int32_t>(p) : 0),
        qkv_(qkv.trial<T>(p)),
        keys_(ctx.arena.take<T>(heads.dim * padded_)),
        scores_(ctx.arena.take<T>(padded_ + block_keys)) {
    if (data.sink.defined() && (!data.sink_on.defined() || *data.sink_on.trial<std::int32_t>(p) != 0)) {
      sink_ = data.sink.trial<T>(p);
    }
    std::fill_n(keys_, heads.dim * padded_, T{});
  }

  // Chooses the keys and values of key head `kv` of sequence b.
  void choose(std::int64_t b, std::int64_t kv) {
    if (b == b_ && kv == kv_) return;
    b_ = b;
    kv_ = kv;
    const T* from = row(0) + (heads_.query + kv) * heads_.dim;
    for (std::int64_t t = 0; t < length_; ++t) {
      for (std::int64_t c = 0; c < heads_.dim; ++c) keys_[c * padded_ + t] = from[t * width_ + c];
    }
  }

  // Query t of head h over the keys chosen: their number; dots()[i] = q . k of visible key i.
  VisibleKeys score(std::int64_t h, std::int64_t t) {
    const VisibleKeys keys(t, t, window_, first_keys_);
    const T* q = row(t) + h * heads_.dim;
    score_range(q, 0, keys.prefix, scores_);
    score_range(q, keys.first, t - keys.first + 1, scores_ + keys.prefix);
    return keys;
  }
  [[nodiscard]] T* dots() const { return scores_; }
  [[nodiscard]] const T* value(std::int64_t key) const {
    return row(key) + (heads_.query + heads_.kv + kv_) * heads_.dim;
  }
  [[nodiscard]] T scale() const { return scale_; }
  // The sink's term of the denominator where that of a key with score `top` (before the scale) is 1.
  template <class S>
  [[nodiscard]] S sink_term(std::int64_t h, S top) const {
    return sink_ == nullptr ? S{} : std::exp(static_cast<S>(sink_[h]) - top * static_cast<S>(scale_));
  }

 private:
  [[nodiscard]] const T* row(std::int64_t t) const { return qkv_ + (b_ * length_ + t) * width_; }

  // to[i] = q . k of key first + i for i < count; writes up to block_keys - 1 more.
  void score_range(const T* q, std::int64_t first, std::int64_t count, T* to) const {
    for (std::int64_t i = 0; i < count; i += block_keys) {
      const T* k = keys_ + first + i;
      T sums[block_keys] = {};
      for (std::int64_t c = 0; c < heads_.dim; ++c) {
        for (std::int64_t j = 0; j < block_keys; ++j) sums[j] = std::fma(q[c], k[c * padded_ + j], sums[j]);
      }
      std::copy_n(sums, block_keys, to + i);
    }
  }

  Heads heads_;
  std::int64_t length_, width_, padded_;
  T scale_;
  std::int64_t window_, first_keys_;
  const T* qkv_;
  T* keys_;    // [hd, padded]: transposed, zeros beyond T
  T* scores_;  // [padded + block_keys]
  const T* sink_ = nullptr;
  std::int64_t b_ = -1, kv_ = -1;
};

// The first of the largest; -1 where nothing is above -inf.
template <class T>
std::int64_t largest(const T* x, std::int64_t n) {
  std::int64_t best = -1;
  T value = -std::numeric_limits<T>::infinity();
  for (std::int64_t i = 0; i < n; ++i) {
    if (x[i] > value) {
      value = x[i];
      best = i;
    }
  }
  return best;
}

template <class T>
void forward_query(TrialProbe<T>& probe, std::int64_t h, std::int64_t t, std::int64_t dim, T* out) {
  const VisibleKeys keys = probe.score(h, t);
  T* weights = probe.dots();
  const std::int64_t best = largest(weights, keys.count());
  const T top = best < 0 ? T{} : weights[best];
  RowSum<T, bytes> sum;
  for_each_vector<T, bytes>(keys.count(), [&](std::int64_t i, int part, auto size) {
    using L = Lanes<T, bytes>;
    L::store(weights + i, Vec<T, bytes>::exp((L::load(weights + i, size) - top) * probe.scale()), size);
    sum.part[part] += L::load(weights + i, size);
  });
  const T total = sum.total() + probe.sink_term(h, top);
  std::fill_n(out, dim, T{});
  for (std::int64_t i = 0; i < keys.count(); ++i) {
    const T* v = probe.value(keys.key(i));
    for (std::int64_t c = 0; c < dim; ++c) out[c] += weights[i] * v[c];
  }
  for (std::int64_t c = 0; c < dim; ++c) out[c] /= total;
}

// Sums in double: this is what other devices are compared with.
template <class T>
std::int64_t query_statistics(TrialProbe<T>& probe, std::int64_t h, std::int64_t t, std::int64_t answer,
                              T* statistics) {
  const VisibleKeys keys = probe.score(h, t);
  const T* dots = probe.dots();
  const auto scale = static_cast<double>(probe.scale());
  const std::int64_t best = largest(dots, keys.count());
  const double top = best < 0 ? 0 : static_cast<double>(dots[best]);
  double total = 0;
  double spread = 0;  // sum of weight * (largest logit - logit)
  double on[2] = {0, 0};
  for (std::int64_t i = 0; i < keys.count(); ++i) {
    const double below = (top - static_cast<double>(dots[i])) * scale;
    const double weight = std::exp(-below);
    total += weight;
    spread += weight * below;
    if (keys.key(i) == answer) on[0] = weight;
    if (keys.key(i) == t - 1) on[1] = weight;
  }
  const double all = total + probe.sink_term(h, top);
  statistics[ProbeStatistic::on_answer] = static_cast<T>(on[0] / all);
  statistics[ProbeStatistic::on_previous] = static_cast<T>(on[1] / all);
  statistics[ProbeStatistic::entropy] = static_cast<T>(std::log(total) + spread / total);
  statistics[ProbeStatistic::keys] = static_cast<T>(keys.count());
  return best < 0 ? -1 : keys.key(best);
}

}  // namespace

void attention_probe_forward(Context& ctx, const Heads& heads, const AttentionProbeData& data, const Tensor& qkv,
                             const Tensor& out) {
  const cpu::Check check(ctx, "attention_probe_forward");
  check.by_dtype("qkv", qkv, [&](auto zero) {
    using T = decltype(zero);
    check_probe(check, heads, data, qkv);
    check.tensor("out", out, qkv.dtype(), {qkv.trials(), qkv.dim(1), qkv.dim(2), heads.query * heads.dim});
    const std::int64_t group = heads.query / heads.kv;
    for (std::int64_t p = 0; p < qkv.trials(); ++p) {
      const ArenaScope scope(ctx.arena);
      TrialProbe<T> probe(ctx, heads, data, qkv, p);
      for (std::int64_t i = 0; i < qkv.dim(1) * heads.query; ++i) {
        const std::int64_t b = i / heads.query;
        const std::int64_t h = i % heads.query;
        const bool on = !data.head_on.defined() || data.head_on.trial<std::int32_t>(p)[h] != 0;
        if (on) probe.choose(b, h / group);
        for (std::int64_t t = 0; t < qkv.dim(2); ++t) {
          T* to = out.trial<T>(p) + (b * qkv.dim(2) + t) * out.dim(3) + h * heads.dim;
          if (on) {
            forward_query(probe, h, t, heads.dim, to);
          } else {
            std::fill_n(to, heads.dim, T{});
          }
        }
      }
    }
  });
}

void attention_probe_statistics(Context& ctx, const Heads& heads, const AttentionProbeData& data,
                                const ProbeQueries& queries, const Tensor& qkv, const Tensor& statistics,
                                const Tensor& top) {
  const cpu::Check check(ctx, "attention_probe_statistics");
  check.by_dtype("qkv", qkv, [&](auto zero) {
    using T = decltype(zero);
    check_probe(check, heads, data, qkv);
    if (!queries.query.defined() || queries.query.size() == 0) return;
    check_queries(check, queries, qkv);
    const std::int64_t n = queries.query.dim(1);
    check.tensor("statistics", statistics, stat_dtype(qkv.dtype()),
                 {qkv.trials(), heads.query, n, ProbeStatistic::count});
    check.tensor("top", top, DType::i32, {qkv.trials(), heads.query, n});
    const auto* query = queries.query.trial<std::int32_t>();
    const auto* answer = queries.answer.trial<std::int32_t>();
    for (std::int64_t p = 0; p < qkv.trials(); ++p) {
      const ArenaScope scope(ctx.arena);
      TrialProbe<T> probe(ctx, heads, data, qkv, p);
      for (std::int64_t i = 0; i < heads.query * n; ++i) {
        const std::int64_t h = i / n;
        const std::int64_t b = query[i % n] / qkv.dim(2);
        probe.choose(b, h / (heads.query / heads.kv));
        const std::int64_t key = query_statistics(probe, h, query[i % n] % qkv.dim(2), answer[i % n],
                                                  statistics.trial<T>(p) + i * ProbeStatistic::count);
        top.trial<std::int32_t>(p)[i] = static_cast<std::int32_t>(key);
      }
    }
  });
}

}  // namespace hylas::kernels::cpu
