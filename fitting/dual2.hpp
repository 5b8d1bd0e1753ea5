// Dual2<K>: a number with its exact gradient and Hessian in K directions (second-order forward differentiation).
//
// A law's terms are templated on their scalar: double gives values, Dual2 gives everything the solver needs for Newton
// steps and profiles. K is the number of scalars a term depends on (fitting/law.hpp), so it stays at 2 to 6 and the
// arithmetic on the stack. Functions of one or two arguments are added through unary() and binary() with their first
// two derivatives. The Hessian is stored as its lower triangle: entry (i, j), i >= j, at i (i + 1) / 2 + j.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace hylas::fitting {

template <int K>
struct Dual2 {
  static constexpr int kPairs = K * (K + 1) / 2;
  double v = 0;
  std::array<double, K> g{};
  std::array<double, kPairs> h{};

  Dual2() = default;
  Dual2(double value) : v(value) {}  // NOLINT: constants mix with duals
  [[nodiscard]] static Dual2 variable(double value, int k) {
    Dual2 x(value);
    x.g[k] = 1;
    return x;
  }
};

// f(x) from f, f', f'' at x.v.
template <int K>
[[nodiscard]] Dual2<K> unary(const Dual2<K>& x, double f, double f1, double f2) {
  Dual2<K> y;
  y.v = f;
  for (int i = 0, n = 0; i < K; ++i) {
    y.g[i] = f1 * x.g[i];
    const double t = f2 * x.g[i];
    for (int j = 0; j <= i; ++j, ++n) y.h[n] = f1 * x.h[n] + t * x.g[j];
  }
  return y;
}

// f(x, y) from its value, gradient (fx, fy) and Hessian (fxx, fxy, fyy).
template <int K>
[[nodiscard]] Dual2<K> binary(const Dual2<K>& x, const Dual2<K>& y, double f, double fx, double fy, double fxx,
                              double fxy, double fyy) {
  Dual2<K> z;
  z.v = f;
  for (int i = 0, n = 0; i < K; ++i) {
    z.g[i] = fx * x.g[i] + fy * y.g[i];
    const double tx = fxx * x.g[i] + fxy * y.g[i];
    const double ty = fxy * x.g[i] + fyy * y.g[i];
    for (int j = 0; j <= i; ++j, ++n) z.h[n] = fx * x.h[n] + fy * y.h[n] + tx * x.g[j] + ty * y.g[j];
  }
  return z;
}

template <int K>
Dual2<K>& operator+=(Dual2<K>& a, const Dual2<K>& b) {
  a.v += b.v;
  for (int i = 0; i < K; ++i) a.g[i] += b.g[i];
  for (int n = 0; n < Dual2<K>::kPairs; ++n) a.h[n] += b.h[n];
  return a;
}
template <int K>
Dual2<K>& operator*=(Dual2<K>& a, double s) {
  a.v *= s;
  for (double& x : a.g) x *= s;
  for (double& x : a.h) x *= s;
  return a;
}
template <int K>
[[nodiscard]] Dual2<K> operator+(Dual2<K> a, const Dual2<K>& b) {
  return a += b;
}
template <int K>
[[nodiscard]] Dual2<K> operator+(Dual2<K> a, double b) {
  a.v += b;
  return a;
}
template <int K>
[[nodiscard]] Dual2<K> operator+(double b, Dual2<K> a) {
  a.v += b;
  return a;
}
template <int K>
[[nodiscard]] Dual2<K> operator-(Dual2<K> a) {
  return a *= -1.0;
}
template <int K>
[[nodiscard]] Dual2<K> operator-(Dual2<K> a, const Dual2<K>& b) {
  return a += -b;
}
template <int K>
[[nodiscard]] Dual2<K> operator-(Dual2<K> a, double b) {
  a.v -= b;
  return a;
}
template <int K>
[[nodiscard]] Dual2<K> operator-(double b, const Dual2<K>& a) {
  return b + (-a);
}
template <int K>
[[nodiscard]] Dual2<K> operator*(Dual2<K> a, double b) {
  return a *= b;
}
template <int K>
[[nodiscard]] Dual2<K> operator*(double b, Dual2<K> a) {
  return a *= b;
}
template <int K>
[[nodiscard]] Dual2<K> operator*(const Dual2<K>& a, const Dual2<K>& b) {
  return binary(a, b, a.v * b.v, b.v, a.v, 0, 1, 0);
}
template <int K>
[[nodiscard]] Dual2<K> operator/(const Dual2<K>& a, const Dual2<K>& b) {
  const double r = 1 / b.v, q = a.v * r;
  return binary(a, b, q, r, -q * r, 0, -r * r, 2 * q * r * r);
}

template <int K>
[[nodiscard]] Dual2<K> exp(const Dual2<K>& x) {
  const double e = std::exp(x.v);
  return unary(x, e, e, e);
}
template <int K>
[[nodiscard]] Dual2<K> log(const Dual2<K>& x) {
  const double r = 1 / x.v;
  return unary(x, std::log(x.v), r, -r * r);
}

[[nodiscard]] inline double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}
template <int K>
[[nodiscard]] Dual2<K> sigmoid(const Dual2<K>& x) {
  const double s = sigmoid(x.v), d = s * sigmoid(-x.v);
  return unary(x, s, d, d * (1 - 2 * s));
}

[[nodiscard]] inline double value_of(double x) {
  return x;
}
template <int K>
[[nodiscard]] double value_of(const Dual2<K>& x) {
  return x.v;
}

// ln(1 + e^x).
[[nodiscard]] inline double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}
template <int K>
[[nodiscard]] Dual2<K> softplus(const Dual2<K>& x) {
  const double s = sigmoid(x.v);
  return unary(x, softplus(x.v), s, s * sigmoid(-x.v));
}

// ln of the sum of exp(x).
template <class T, std::size_t N>
[[nodiscard]] T log_sum_exp(const T (&x)[N]) {
  using std::exp;
  using std::log;
  double top = value_of(x[0]);
  for (const T& each : x) top = std::max(top, value_of(each));
  T sum(0.0);
  for (const T& each : x) sum += exp(each - top);
  return log(sum) + top;
}

}  // namespace hylas::fitting
