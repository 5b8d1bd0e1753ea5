// CPU: linear_cross_entropy (kernels/linear_cross_entropy.hpp). Scored rows are gathered in chunks; the logits of a
// chunk are all that is ever in memory, and rows that are not scored cost nothing.
#include "kernels/linear_cross_entropy.hpp"

#include <algorithm>
#include <cassert>
#include <limits>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

// Rows of a chunk: about 256 KiB of float logits, at least 16 rows, at most 256. The bits do not depend on it.
std::int64_t chunk_rows(std::int64_t vocabulary) {
  return std::clamp<std::int64_t>(65536 / vocabulary, 16, 256);
}

template <class T>
struct Head {  // one trial
  const T* h = nullptr;
  const T* head = nullptr;
  const std::int32_t* targets = nullptr;
  T* loss = nullptr;
  T* dh = nullptr;  // null: evaluation
  T* dhead = nullptr;
  std::int32_t* predicted = nullptr;
  T scale = 1;
  std::int64_t rows = 0, d = 0, vocabulary = 0;
};

template <class T>
struct Scratch {
  T *gemm, *h, *dh, *logits;
  std::int64_t* row;  // where the rows of the chunk lie

  Scratch(Arena& arena, std::int64_t d, std::int64_t vocabulary) {
    const std::int64_t rows = chunk_rows(vocabulary);
    gemm = arena.take<T>(cpu::gemm_scratch);
    h = arena.take<T>(rows * d);
    dh = arena.take<T>(rows * d);
    logits = arena.take<T>(rows * vocabulary);
    row = arena.take<std::int64_t>(rows);
  }
};

// Gathers the next scored rows from `at` on, settling those that are not scored; returns how many.
template <class T>
std::int64_t gather(const Head<T>& t, const Scratch<T>& s, std::int64_t& at) {
  std::int64_t count = 0;
  const std::int64_t most = chunk_rows(t.vocabulary);
  for (; at < t.rows && count < most; ++at) {
    if (t.targets[at] < 0) {
      t.loss[at] = T{};
      if (t.dh != nullptr) std::fill_n(t.dh + at * t.d, t.d, T{});
      if (t.predicted != nullptr) t.predicted[at] = -1;
      continue;
    }
    assert(t.targets[at] < t.vocabulary);
    s.row[count] = at;
    std::copy_n(t.h + at * t.d, t.d, s.h + count * t.d);
    ++count;
  }
  return count;
}

template <class T>
void run(const cpu::Loops<T>& loops, const Head<T>& t, const Scratch<T>& s) {
  const std::int64_t v = t.vocabulary;
  const std::int64_t d = t.d;
  for (std::int64_t at = 0; at < t.rows;) {
    const std::int64_t count = gather(t, s, at);
    loops.gemm({count, v, d, s.h, d, false, t.head, d, true, s.logits, v, false}, s.gemm);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = s.row[i];
      cpu::LogitRow<T> r;
      r.columns = v;
      r.logits = s.logits + i * v;
      r.target = t.targets[row];
      r.gradient = t.dh != nullptr;
      r.scale = t.scale;
      loops.cross_entropy(r);
      t.loss[row] = r.loss;
      if (t.predicted != nullptr) t.predicted[row] = static_cast<std::int32_t>(r.arg_max);
    }
    if (t.dh == nullptr) continue;
    loops.gemm({count, d, v, s.logits, v, false, t.head, d, false, s.dh, d, false}, s.gemm);
    loops.gemm({v, d, count, s.logits, v, true, s.h, d, false, t.dhead, d, true}, s.gemm);
    for (std::int64_t i = 0; i < count; ++i) std::copy_n(s.dh + i * d, d, t.dh + s.row[i] * d);
  }
}

void check_head(const cpu::Check& check, const Tensor& h, const Tensor& head, const Tensor& targets,
                const Tensor& loss) {
  const std::int64_t any = cpu::Check::any;
  const DType dtype = h.dtype();
  check.tensor("h", h, dtype, {h.trials(), any, any, any});
  check.tensor("head", head, dtype, {h.trials(), any, h.dim(3)});
  check.tensor("targets", targets, DType::i32, {h.trials(), h.dim(1), h.dim(2)});
  check.tensor("loss", loss, dtype, {h.trials(), h.dim(1), h.dim(2)});
  check.require(head.dim(1) >= 1 && head.dim(1) <= std::numeric_limits<std::int32_t>::max(),
                "the vocabulary should be 1..2^31-1, is " + std::to_string(head.dim(1)));
}

template <class T>
Head<T> head_of(const Tensor& h, const Tensor& head, const Tensor& targets, const Tensor& loss, std::int64_t p) {
  Head<T> t;
  t.h = h.trial<T>(p);
  t.head = head.trial<T>(p);
  t.targets = targets.trial<std::int32_t>(p);
  t.loss = loss.trial<T>(p);
  t.rows = h.trial_rows();
  t.d = h.dim(3);
  t.vocabulary = head.dim(1);
  return t;
}

}  // namespace

void linear_cross_entropy_train(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets, double scale,
                                const Tensor& loss, const Tensor& dh, const Tensor& dhead,
                                std::int64_t /*most_targets*/) {
  const cpu::Check check(ctx, "linear_cross_entropy_train");
  check.by_dtype("h", h, [&](auto zero) {
    using T = decltype(zero);
    check_head(check, h, head, targets, loss);
    check.tensor("dh", dh, h.dtype(), {h.dim(0), h.dim(1), h.dim(2), h.dim(3)});
    check.tensor("dhead", dhead, h.dtype(), {head.dim(0), head.dim(1), head.dim(2)});
    const ArenaScope scope(ctx.arena);
    const Scratch<T> scratch(ctx.arena, h.dim(3), head.dim(1));
    for (std::int64_t p = 0; p < h.trials(); ++p) {
      auto t = head_of<T>(h, head, targets, loss, p);
      t.dh = dh.trial<T>(p);
      t.dhead = dhead.trial<T>(p);
      t.scale = static_cast<T>(scale);
      run(cpu::loops<T>(ctx), t, scratch);
    }
  });
}

void linear_cross_entropy_eval(Context& ctx, const Tensor& h, const Tensor& head, const Tensor& targets,
                               const Tensor& loss, const Tensor& predicted, std::int64_t /*most_targets*/) {
  const cpu::Check check(ctx, "linear_cross_entropy_eval");
  check.by_dtype("h", h, [&](auto zero) {
    using T = decltype(zero);
    check_head(check, h, head, targets, loss);
    check.tensor("predicted", predicted, DType::i32, {h.trials(), h.dim(1), h.dim(2)});
    const ArenaScope scope(ctx.arena);
    const Scratch<T> scratch(ctx.arena, h.dim(3), head.dim(1));
    for (std::int64_t p = 0; p < h.trials(); ++p) {
      auto t = head_of<T>(h, head, targets, loss, p);
      t.predicted = predicted.trial<std::int32_t>(p);
      run(cpu::loops<T>(ctx), t, scratch);
    }
  });
}

}  // namespace hylas::kernels::cpu
