// What the tests of recurrence share: cases with the decays, write strengths and layouts of the public mixers, and one
// run of the operator on chosen trials of a case.
#pragma once

#include <algorithm>
#include <functional>
#include <string>

#include "kernels/recurrence.hpp"
#include "tests/kernels/support.hpp"
#include "tests/oracle/recurrence.hpp"

namespace hylas::test {

enum class Decay { none, weak, strong, half_strong, random, constant };  // constant: g is {1, H}
enum class Strength { absent, zero, one, random };

struct RecurrenceCase {
  oracle::RecurrenceShape shape;
  bool constant_decay = false;
  std::vector<oracle::RecurrenceInput> trials;
  Trials dout;
};

inline const char* name_of(Decay decay) {
  const char* names[] = {"none", "weak", "strong", "half strong", "random", "constant"};
  return names[static_cast<int>(decay)];
}

inline double log_decay(Decay decay, std::int64_t t, std::int64_t head, double uniform) {
  switch (decay) {
    case Decay::none: return 0;
    case Decay::weak: return -1e-3 * uniform;
    case Decay::strong: return -20;
    case Decay::half_strong: return (t + 8) % 64 < 32 ? 0 : -20;  // changes in the middle of chunks of 16 and of 64
    case Decay::random: return -std::pow(10.0, 4 * uniform - 3);
    case Decay::constant: return -std::pow(2.0, -static_cast<double>(head));
  }
  return 0;
}

// Columns of qkv: `pad` unused ones, v, q, pad, k, pad; queries and keys are L2-normalised.
inline oracle::RecurrenceShape recurrence_shape(bool delta, std::int64_t batch, std::int64_t length, std::int64_t heads,
                                                std::int64_t groups, std::int64_t key_dim, std::int64_t value_dim,
                                                std::int64_t pad = 3) {
  oracle::RecurrenceShape s{batch, length, heads, groups, key_dim, value_dim};
  s.v_at = pad;
  s.q_at = s.v_at + heads * value_dim;
  s.k_at = s.q_at + groups * key_dim + pad;
  s.width = s.k_at + groups * key_dim + pad;
  s.scale = delta ? 1 / std::sqrt(static_cast<double>(key_dim)) : 1;
  s.delta = delta;
  return s;
}

inline void normalise(const oracle::RecurrenceShape& s, Vector& qkv) {
  for (std::int64_t row = 0; row < s.batch * s.length; ++row) {
    for (std::int64_t head = 0; head < 2 * s.groups; ++head) {
      double* x = qkv.data() + row * s.width + (head % 2 == 0 ? s.q_at : s.k_at) + head / 2 * s.key_dim;
      double sum = 1e-6;
      for (std::int64_t i = 0; i < s.key_dim; ++i) sum += x[i] * x[i];
      for (std::int64_t i = 0; i < s.key_dim; ++i)
        x[i] = static_cast<double>(static_cast<float>(x[i] / std::sqrt(sum)));
    }
  }
}

inline RecurrenceCase recurrence_case(Random& random, const oracle::RecurrenceShape& s, Decay decay, Strength strength,
                                      bool skip, std::int64_t trials) {
  RecurrenceCase c{s, decay == Decay::constant, {}, random.trials(trials, s.outputs())};
  const Ints choice = random.integers(2 * trials * s.gates(), 0, 1 << 20);
  std::size_t next = 0;
  const auto uniform = [&] { return std::ldexp(choice[next++], -20); };
  for (std::int64_t p = 0; p < trials; ++p) {
    oracle::RecurrenceInput in;
    in.qkv = random.normal(s.batch * s.length * s.width);
    normalise(s, in.qkv);
    for (std::int64_t i = 0; i < s.gates(); ++i) {
      const double g = log_decay(decay, i / s.heads % s.length, i % s.heads, uniform());
      in.g.push_back(static_cast<double>(static_cast<float>(g)));
    }
    if (strength != Strength::absent) {
      in.beta.emplace(at(s.gates()), strength == Strength::one ? 1 : 0);
      if (strength == Strength::random) std::generate(in.beta->begin(), in.beta->end(), uniform);
    }
    if (skip) in.skip = random.normal(s.heads);
    c.trials.push_back(in);
  }
  return c;
}

inline kernels::Recurrence recurrence_of(const oracle::RecurrenceShape& s, std::int64_t chunk) {
  return {s.heads, s.groups, s.key_dim, s.value_dim, s.q_at, s.k_at, s.v_at, s.scale, s.delta, chunk};
}

// One input of all trials of a case.
template <class F>
Trials each(const RecurrenceCase& c, const F& f) {
  Trials values;
  for (const auto& in : c.trials) values.push_back(f(in));
  return values;
}

template <class T>
struct RecurrenceOutputs {
  std::vector<std::vector<T>> out, dqkv, dg, dbeta, dskip;  // absent gradients: poisoned
};

constexpr double poison_before = 0.25;  // what dskip is added to

// Trials first .. first + p of the case, forward and backward; trials lie `gap` elements apart.
template <class T>
RecurrenceOutputs<T> run_recurrence(const RecurrenceCase& c, std::int64_t chunk, std::size_t first, std::int64_t p,
                                    std::int64_t gap, bool baseline = false) {
  const oracle::RecurrenceShape& s = c.shape;
  const kernels::Recurrence shape = recurrence_of(s, chunk);
  Context ctx = context(baseline);
  const bool beta_there = c.trials[0].beta.has_value(), skip_there = c.trials[0].skip.has_value();
  const auto or_zeros = [](const std::optional<Vector>& v, std::int64_t n) { return v ? *v : Vector(at(n)); };
  const Memory<T> qkv({p, s.batch, s.length, s.width}, gap, each(c, [](const auto& in) { return in.qkv; }), first);
  const Memory<T> g({p, s.batch, s.length, s.heads}, gap, each(c, [](const auto& in) { return in.g; }), first);
  const Memory<T> constant({1, s.heads}, 0, Trials{Vector(c.trials[0].g.begin(), c.trials[0].g.begin() + s.heads)}, 0);
  const Memory<T> beta({p, s.batch, s.length, s.heads}, gap,
                       each(c, [&](const auto& in) { return or_zeros(in.beta, s.gates()); }), first);
  const Memory<T> skip({p, s.heads}, gap, each(c, [&](const auto& in) { return or_zeros(in.skip, s.heads); }), first);
  const Memory<T> dout({p, s.batch, s.length, s.heads * s.value_dim}, gap, c.dout, first);
  const Memory<T> out({p, s.batch, s.length, s.heads * s.value_dim}, gap), dqkv({p, s.batch, s.length, s.width}, gap);
  const Memory<T> dg({p, s.batch, s.length, s.heads}, gap), dbeta({p, s.batch, s.length, s.heads}, gap);
  const Memory<T> dskip({p, s.heads}, gap, Trials(c.trials.size(), Vector(at(s.heads), poison_before)), first);
  const kernels::RecurrenceInputs in{qkv, c.constant_decay ? constant.tensor() : g.tensor(),
                                     beta_there ? beta.tensor() : Tensor(), skip_there ? skip.tensor() : Tensor()};
  const kernels::RecurrenceGradients gradients{dqkv, c.constant_decay ? Tensor() : dg.tensor(),
                                               beta_there ? dbeta.tensor() : Tensor(),
                                               skip_there ? dskip.tensor() : Tensor()};
  kernels::RecurrenceSaved saved;
  kernels::recurrence_forward(ctx, shape, in, out, saved);
  kernels::recurrence_backward(ctx, shape, in, saved, dout, gradients);
  for (const auto* m : {&out, &dqkv, &dg, &dbeta, &dskip}) m->check_fences();
  return {out.all(), dqkv.all(), dg.all(), dbeta.all(), dskip.all()};
}

// Of a row of qkv the columns of q, k and v, where gradients are written, and the others, which stay as they are.
template <class T>
std::vector<T> written_columns(const oracle::RecurrenceShape& s, const std::vector<T>& dqkv, bool others = false) {
  std::vector<T> columns;
  for (std::size_t i = 0; i < dqkv.size(); ++i) {
    const auto c = static_cast<std::int64_t>(i) % s.width;
    const auto inside = [c](std::int64_t begin, std::int64_t count) { return c >= begin && c < begin + count; };
    const bool written = inside(s.q_at, s.groups * s.key_dim) || inside(s.k_at, s.groups * s.key_dim) ||
                         inside(s.v_at, s.heads * s.value_dim);
    if (written != others) columns.push_back(dqkv[i]);
  }
  return columns;
}

// The largest |a - b| / max(1, |b|); infinite when something is not a number.
template <class T>
double largest_error(const std::vector<T>& a, const Vector& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double e = std::abs(static_cast<double>(a[i]) - b[i]) / std::max(1.0, std::abs(b[i]));
    if (!(e <= largest)) largest = std::isfinite(e) ? e : std::numeric_limits<double>::infinity();
  }
  return largest;
}

}  // namespace hylas::test
