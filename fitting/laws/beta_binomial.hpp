// The beta-binomial's logarithm and its derivatives for 24 values at once: what F1 spends its time on.
//
// l(m, ln phi) = rising(s, a) + rising(n - s, b) - rising(n, phi), a = m phi, b = (1 - m) phi, is ln of the probability
// of s in n with mean m and precision phi, but for ln choose(n, s); s need not be whole. rising(s, a) is
// ln Gamma(s + a) - ln Gamma(a): a product for a small whole s, else Stirling's series (Abramowitz and Stegun 6.1.41,
// 6.3.18, 6.4.12) beyond 8, where every argument is moved by recurrence. Written as one difference,
// (x - 1/2) ln(x / y) + (x - y)(ln y - 1) + ..., so that nothing of the size of ln Gamma cancels: about 1e-14 of the
// result or of x. Arguments must be positive and below 1e30.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <type_traits>

#include "fitting/distributions.hpp"

namespace hylas::fitting {

inline constexpr int kBatch = 24;
using Batch = Eigen::Array<double, kBatch, 1>;

// A function of one argument with two derivatives; those are left alone where they are not asked for.
struct BatchFamily {
  Batch value, first, second;
};

namespace detail {

// The product x (x + 1) ... (x + steps - 1), with sum 1/(x + i) and sum 1/(x + i)^2.
template <bool kDerivatives>
inline void product_of(const Batch& x, int steps, Batch& product, Batch& first, Batch& second) {
  product = x;
  first.setOnes();
  second.setOnes();
  for (int i = 1; i < steps; ++i) {
    const Batch factor = x + i;
    if constexpr (kDerivatives) {
      first = first * factor + product;
      second = second * factor.square() + product.square();
    }
    product *= factor;
  }
  if constexpr (kDerivatives) {
    const Batch inverse = product.inverse();
    first *= inverse;
    second *= inverse.square();
  }
}

// An argument moved beyond 8: `at` = x + shift, and what the recurrence takes off.
struct Shifted {
  Batch at, product, first, second;
  bool moved = false;
};
template <bool kDerivatives>
inline void shift(const Batch& x, Shifted& out) {
  out.moved = x.minCoeff() < 8;
  out.at = x;
  if (!out.moved) return;
  product_of<kDerivatives>(x, 8, out.product, out.first, out.second);
  out.at += 8;
}

// Stirling's corrections at x >= 8: of ln Gamma, of digamma (subtracted) and of trigamma, with r = 1 / x.
inline Batch stirling_of(const Batch& r, const Batch& s) {
  return r *
         (1.0 / 12 - s * (1.0 / 360 - s * (1.0 / 1260 - s * (1.0 / 1680 - s * (1.0 / 1188 - s * (691.0 / 360360))))));
}
inline Batch digamma_of(const Batch& r, const Batch& s) {
  return 0.5 * r +
         s * (1.0 / 12 - s * (1.0 / 120 - s * (1.0 / 252 - s * (1.0 / 240 - s * (1.0 / 132 - s * (691.0 / 32760))))));
}
inline Batch trigamma_of(const Batch& r, const Batch& s) {
  return r *
         (1 + r * (0.5 + r * (1.0 / 6 -
                              s * (1.0 / 30 - s * (1.0 / 42 - s * (1.0 / 30 - s * (5.0 / 66 - s * (691.0 / 2730))))))));
}

}  // namespace detail

// rising(s, a); S is a number, or a Batch where every lane has its own.
template <bool kDerivatives, class S>
void rising(const S& s, const Batch& a, BatchFamily& out) {
  if constexpr (std::is_same_v<S, double>) {
    if (s == 0) {
      out.value.setZero();
      out.first.setZero();
      out.second.setZero();
      return;
    }
    if (s <= 12 && s == std::floor(s)) {
      Batch product;
      detail::product_of<kDerivatives>(a, static_cast<int>(s), product, out.first, out.second);
      out.value = product.log();
      if constexpr (kDerivatives) out.second = -out.second;
      return;
    }
  }
  detail::Shifted x, y;
  detail::shift<kDerivatives>(a + s, x);
  detail::shift<kDerivatives>(a, y);
  const Batch rx = x.at.inverse(), ry = y.at.inverse(), sx = rx.square(), sy = ry.square();
  const Batch ratio = (x.at * ry).log();
  out.value = (x.at - 0.5) * ratio + (x.at - y.at) * (y.at.log() - 1) + detail::stirling_of(rx, sx) -
              detail::stirling_of(ry, sy);
  if (x.moved && y.moved) {
    out.value += (y.product / x.product).log();
  } else if (y.moved) {
    out.value += y.product.log();
  }
  if constexpr (kDerivatives) {
    out.first = ratio - detail::digamma_of(rx, sx) + detail::digamma_of(ry, sy);
    out.second = detail::trigamma_of(rx, sx) - detail::trigamma_of(ry, sy);
    if (y.moved) out.first += y.first, out.second -= y.second;
    if (x.moved) out.first -= x.first, out.second += x.second;
  }
}

// l(m, ln phi) with `offset` in the place of -rising(n, phi), which does not depend on m; ln choose(n, s) belongs there
// too, so that sums over points stay small.
template <class S>
[[nodiscard]] Batch log_beta_binomial(const S& s, const S& misses, const Batch& m, double phi, const S& offset) {
  BatchFamily p, q;
  rising<false>(s, Batch(m * phi), p);
  rising<false>(misses, Batch((1 - m) * phi), q);
  return (p.value + offset) + q.value;
}

// The same with its derivatives in m.
struct MeanTerm {
  Batch value, m, mm;
};
template <class S>
void mean_term(const S& s, const S& misses, const Batch& m, double phi, const S& offset, MeanTerm& out) {
  BatchFamily p, q;
  rising<true>(s, Batch(m * phi), p);
  rising<true>(misses, Batch((1 - m) * phi), q);
  out.value = (p.value + offset) + q.value;
  out.m = phi * (p.first - q.first);
  out.mm = phi * phi * (p.second + q.second);
}

// rising(n, phi) of one point.
struct Total {
  double value = 0, first = 0, second = 0;
};
[[nodiscard]] inline Total total_of(double n, double phi) {
  BatchFamily family;
  rising<true>(n, Batch(Batch::Constant(phi)), family);
  return {family.value[0], family.first[0], family.second[0]};
}

// The same with its first and second derivatives in (m, ln phi); `total` is rising(n, phi) and its derivatives in phi.
struct PointTerm {
  Batch value, m, phi, mm, m_phi, phi_phi;
};
template <class S>
void point_term(const S& s, const S& misses, const Batch& m, double phi, const S& offset, const Total& total,
                PointTerm& out) {
  BatchFamily p, q;
  rising<true>(s, Batch(m * phi), p);
  rising<true>(misses, Batch((1 - m) * phi), q);
  const double square = phi * phi;
  out.value = (p.value + offset) + q.value;
  out.m = phi * (p.first - q.first);
  out.phi = phi * (m * p.first + (1 - m) * q.first - total.first);
  out.mm = square * (p.second + q.second);
  out.m_phi = out.m + square * (m * p.second - (1 - m) * q.second);
  out.phi_phi = out.phi + square * (m.square() * p.second + (1 - m).square() * q.second - total.second);
}

}  // namespace hylas::fitting
