// Oracle: the operators of kernels/ as plain loops in double on std::vector, one trial at a time, written from the
// formulas in the headers and for nothing but being obviously right. All backends are checked against it. Attention and
// RoPE are next door, in attention.hpp.
//
// Shapes are those of kernels/*.hpp without the leading trial dimension; sums of gradients start at zero.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hylas::oracle {

using Vector = std::vector<double>;
using Ints = std::vector<std::int32_t>;

namespace detail {

inline std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

}  // namespace detail

using detail::at;

// y [rows, out] = x [rows, in] w [out, in]^T
inline Vector linear(const Vector& x, const Vector& w, std::int64_t rows, std::int64_t in, std::int64_t out) {
  Vector y(at(rows * out));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t o = 0; o < out; ++o) {
      for (std::int64_t i = 0; i < in; ++i) y[at(r * out + o)] += x[at(r * in + i)] * w[at(o * in + i)];
    }
  }
  return y;
}

inline Vector linear_backward_input(const Vector& dy, const Vector& w, std::int64_t rows, std::int64_t in,
                                    std::int64_t out) {
  Vector dx(at(rows * in));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t o = 0; o < out; ++o) {
      for (std::int64_t i = 0; i < in; ++i) dx[at(r * in + i)] += dy[at(r * out + o)] * w[at(o * in + i)];
    }
  }
  return dx;
}

inline Vector linear_backward_weight(const Vector& dy, const Vector& x, std::int64_t rows, std::int64_t in,
                                     std::int64_t out) {
  Vector dw(at(out * in));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t o = 0; o < out; ++o) {
      for (std::int64_t i = 0; i < in; ++i) dw[at(o * in + i)] += dy[at(r * out + o)] * x[at(r * in + i)];
    }
  }
  return dw;
}

inline Vector embed(const Vector& table, const Ints& tokens, std::int64_t d) {
  Vector x;
  for (auto token : tokens) {
    for (std::int64_t c = 0; c < d; ++c) x.push_back(table[at(token * d + c)]);
  }
  return x;
}

inline Vector embed_backward(const Vector& dx, const Ints& tokens, std::int64_t d, std::int64_t vocabulary) {
  Vector dtable(at(vocabulary * d));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    for (std::int64_t c = 0; c < d; ++c) dtable[at(tokens[i] * d + c)] += dx[i * at(d) + at(c)];
  }
  return dtable;
}

// Sines, then cosines, of t * f for the frequencies f = 1 .. 1e-4, evenly spaced in their logarithm; an odd d ends in
// 0.
inline Vector sinusoids(std::int64_t length, std::int64_t d) {
  const std::int64_t half = d / 2;
  Vector position(at(length * d));
  for (std::int64_t t = 0; t < length; ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double step = half > 1 ? std::log(1e4) / static_cast<double>(half - 1) : 0;
      const double angle = static_cast<double>(t) * std::exp(-static_cast<double>(i) * step);
      position[at(t * d + i)] = std::sin(angle);
      position[at(t * d + half + i)] = std::cos(angle);
    }
  }
  return position;
}

inline Vector broadcast_last(const Vector& x, const Vector& position, std::int64_t length, std::int64_t d) {
  Vector z(x.size());
  for (std::int64_t row = 0; row < static_cast<std::int64_t>(x.size()) / d; ++row) {
    const std::int64_t last = row / length * length + length - 1, t = row % length;
    for (std::int64_t c = 0; c < d; ++c) z[at(row * d + c)] = x[at(last * d + c)] + position[at(t * d + c)];
  }
  return z;
}

inline Vector broadcast_last_backward(const Vector& dz, std::int64_t length, std::int64_t d) {
  Vector dx(dz.size());
  for (std::int64_t row = 0; row < static_cast<std::int64_t>(dz.size()) / d; ++row) {
    const std::int64_t last = row / length * length + length - 1;
    for (std::int64_t c = 0; c < d; ++c) dx[at(last * d + c)] += dz[at(row * d + c)];
  }
  return dx;
}

struct Norm {
  Vector h, inv_rms;
};

inline Norm rmsnorm(const Vector& x, const Vector& weight, double eps) {
  const std::size_t d = weight.size();
  Norm n{Vector(x.size()), Vector(x.size() / d)};
  for (std::size_t r = 0; r < n.inv_rms.size(); ++r) {
    double sum = 0;
    for (std::size_t c = 0; c < d; ++c) sum += x[r * d + c] * x[r * d + c];
    n.inv_rms[r] = 1 / std::sqrt(sum / static_cast<double>(d) + eps);
    for (std::size_t c = 0; c < d; ++c) n.h[r * d + c] = weight[c] * x[r * d + c] * n.inv_rms[r];
  }
  return n;
}

struct NormGradient {
  Vector dx, dweight;
};

inline NormGradient rmsnorm_backward(const Vector& dh, const Vector& x, const Vector& weight, double eps) {
  const std::size_t d = weight.size();
  const Norm n = rmsnorm(x, weight, eps);
  NormGradient g{Vector(x.size()), Vector(d)};
  for (std::size_t r = 0; r < n.inv_rms.size(); ++r) {
    const double inv = n.inv_rms[r];
    double sum = 0;  // of dh w x
    for (std::size_t c = 0; c < d; ++c) {
      g.dweight[c] += dh[r * d + c] * x[r * d + c] * inv;
      sum += dh[r * d + c] * weight[c] * x[r * d + c];
    }
    for (std::size_t c = 0; c < d; ++c) {
      g.dx[r * d + c] = inv * dh[r * d + c] * weight[c] - inv * inv * inv * x[r * d + c] * sum / static_cast<double>(d);
    }
  }
  return g;
}

inline Vector swiglu(const Vector& gate_up, std::int64_t f) {
  Vector out(gate_up.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t row = i / at(f) * at(2 * f);
    const double g = gate_up[row + i % at(f)];
    out[i] = g / (1 + std::exp(-g)) * gate_up[row + at(f) + i % at(f)];
  }
  return out;
}

inline Vector swiglu_backward(const Vector& dout, const Vector& gate_up, std::int64_t f) {
  Vector d(gate_up.size());
  for (std::size_t i = 0; i < dout.size(); ++i) {
    const std::size_t gate = i / at(f) * at(2 * f) + i % at(f);
    const double g = gate_up[gate];
    const double s = 1 / (1 + std::exp(-g));
    d[gate] = dout[i] * gate_up[gate + at(f)] * s * (1 + g * (1 - s));
    d[gate + at(f)] = dout[i] * g * s;
  }
  return d;
}

struct CrossEntropy {
  Vector loss, dh, dhead;
  Ints predicted;
};

// A target < 0 is not scored; gradients are scale times those of the sum of losses.
inline CrossEntropy linear_cross_entropy(const Vector& h, const Vector& head, const Ints& targets, std::int64_t d,
                                         std::int64_t vocabulary, double scale) {
  const auto rows = static_cast<std::int64_t>(targets.size());
  CrossEntropy result{Vector(targets.size()), Vector(h.size()), Vector(head.size()), Ints(targets.size(), -1)};
  const Vector logits = linear(h, head, rows, d, vocabulary);
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int32_t target = targets[at(r)];
    if (target < 0) continue;
    const double* row = logits.data() + r * vocabulary;
    std::int32_t best = 0;
    for (std::int32_t v = 1; v < vocabulary; ++v) best = row[v] > row[best] ? v : best;
    double sum = 0;
    for (std::int64_t v = 0; v < vocabulary; ++v) sum += std::exp(row[v] - row[best]);
    result.loss[at(r)] = std::log(sum) + row[best] - row[target];
    result.predicted[at(r)] = best;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const double dlogit = scale * (std::exp(row[v] - row[best]) / sum - (v == target ? 1 : 0));
      for (std::int64_t c = 0; c < d; ++c) {
        result.dh[at(r * d + c)] += dlogit * head[at(v * d + c)];
        result.dhead[at(v * d + c)] += dlogit * h[at(r * d + c)];
      }
    }
  }
  return result;
}

struct AdamWStep {
  double lr = 0, weight_decay = 0, clip_scale = 1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  int step = 1;
  std::int64_t decay_count = 0;
};

inline void adamw(const AdamWStep& s, Vector& param, const Vector& grad, Vector& m, Vector& v) {
  for (std::size_t i = 0; i < param.size(); ++i) {
    const double g = s.clip_scale * grad[i];
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
    const double mhat = m[i] / (1 - std::pow(s.beta1, s.step));
    const double vhat = v[i] / (1 - std::pow(s.beta2, s.step));
    const double decay = i < at(s.decay_count) ? s.weight_decay * param[i] : 0;
    param[i] -= s.lr * (mhat / (std::sqrt(vhat) + s.eps) + decay);
  }
}

}  // namespace hylas::oracle
