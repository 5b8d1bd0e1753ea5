// Oracle: short_conv, decay_gates and gated_norm as plain loops in double, one trial at a time, written from the
// formulas in their headers. Gradients through norms are written as Jacobians times vectors.
//
// Shapes are those of kernels/*.hpp without the leading trial dimension; sums of gradients, and columns of dproj that
// are not written, are zero.
#pragma once

#include <cmath>

#include "kernels/decay_gates.hpp"
#include "kernels/gated_norm.hpp"
#include "kernels/short_conv.hpp"
#include "tests/oracle/dense.hpp"

namespace hylas::oracle {

struct Activation {
  double value, slope;
};
inline double sigmoid(double x) {
  return x > 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}
inline Activation silu(double x) {
  return {x * sigmoid(x), sigmoid(x) * (1 + x * sigmoid(-x))};
}
inline double softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

struct ShortConvResult {
  Vector out, dproj, dweight, dbias;
};

// proj is [B, T, W]; an empty weight or bias is absent; without dout only `out` is made.
inline ShortConvResult short_conv(const kernels::ShortConv& conv, std::int64_t b, std::int64_t t, std::int64_t w,
                                  const Vector& proj, const Vector& weight, const Vector& bias, const Vector& dout) {
  const std::int64_t channels = conv.channels();
  ShortConvResult r{Vector(at(b * t * channels)), Vector(proj.size()), Vector(weight.size()), Vector(bias.size())};
  for (std::int64_t row = 0; row < b * t; ++row) {
    std::int64_t first = 0;  // the head's first channel
    for (const kernels::ConvSegment& s : conv.segments) {
      for (std::int64_t head = 0; head < s.heads; ++head, first += s.dim) {
        const std::int64_t column = s.at + head * s.stride;
        Vector y(at(s.dim)), slope(at(s.dim));
        double squares = 0;
        for (std::int64_t i = 0; i < s.dim; ++i) {
          double a = weight.empty() ? proj[at(row * w + column + i)] : bias.empty() ? 0 : bias[at(first + i)];
          for (std::int64_t j = 0; j < 4 && !weight.empty(); ++j) {
            if (row % t - 3 + j < 0) continue;
            a += weight[at((first + i) * 4 + j)] * proj[at((row - 3 + j) * w + column + i)];
          }
          const Activation activation = silu(a);
          y[at(i)] = activation.value;
          slope[at(i)] = activation.slope;
          squares += y[at(i)] * y[at(i)];
        }
        const double norm = s.normalised ? std::sqrt(squares + 1e-6) : 1;
        for (std::int64_t i = 0; i < s.dim; ++i) r.out[at(row * channels + first + i)] = y[at(i)] / norm;
        for (std::int64_t i = 0; i < s.dim && !dout.empty(); ++i) {
          double dy = 0;
          for (std::int64_t k = 0; k < s.dim; ++k) {
            double slope_of_norm = k == i ? 1 / norm : 0;
            if (s.normalised) slope_of_norm -= y[at(i)] * y[at(k)] / (norm * norm * norm);
            dy += slope_of_norm * dout[at(row * channels + first + k)];
          }
          const double da = dy * slope[at(i)];
          if (weight.empty()) r.dproj[at(row * w + column + i)] = da;
          for (std::int64_t j = 0; j < 4 && !weight.empty(); ++j) {
            if (row % t - 3 + j < 0) continue;
            const std::int64_t from = (row - 3 + j) * w + column + i;
            r.dproj[at(from)] += weight[at((first + i) * 4 + j)] * da;
            r.dweight[at((first + i) * 4 + j)] += proj[at(from)] * da;
          }
          if (!bias.empty()) r.dbias[at(first + i)] += da;
        }
      }
    }
  }
  return r;
}

struct DecayGatesResult {
  Vector g, beta, dproj, da_log, ddt_bias;
};

inline DecayGatesResult decay_gates(const kernels::DecayGates& gates, std::int64_t rows, std::int64_t w,
                                    const Vector& proj, const Vector& a_log, const Vector& dt_bias, const Vector& dg,
                                    const Vector& dbeta) {
  const std::int64_t heads = gates.heads;
  DecayGatesResult r{Vector(at(rows * heads)), Vector(at(rows * heads)), Vector(proj.size()), Vector(at(heads)),
                     Vector(at(heads))};
  for (std::int64_t i = 0; i < rows * heads; ++i) {
    const std::int64_t row = i / heads, h = i % heads;
    const std::int64_t step_at = row * w + gates.step_at + h * gates.step_stride,
                       beta_at = row * w + gates.beta_at + h * gates.beta_stride;
    const double before = proj[at(step_at)] + dt_bias[at(h)], a = std::exp(a_log[at(h)]);
    r.g[at(i)] = -a * softplus(before);
    r.beta[at(i)] = gates.beta_is_step ? softplus(before) : sigmoid(proj[at(beta_at)]);
    if (dg.empty()) continue;
    double dbefore = -a * sigmoid(before) * dg[at(i)];
    if (gates.beta_is_step) {
      dbefore += sigmoid(before) * dbeta[at(i)];
    } else {
      r.dproj[at(beta_at)] = dbeta[at(i)] * sigmoid(proj[at(beta_at)]) * sigmoid(-proj[at(beta_at)]);
    }
    r.dproj[at(step_at)] = dbefore;
    r.ddt_bias[at(h)] += dbefore;
    r.da_log[at(h)] += dg[at(i)] * r.g[at(i)];
  }
  return r;
}

struct GatedNormResult {
  Vector y, inv_rms, dx, dproj, dweight;
};

inline GatedNormResult gated_norm(const kernels::GatedNorm& norm, std::int64_t rows, std::int64_t w, const Vector& x,
                                  const Vector& proj, const Vector& weight, const Vector& dy) {
  using Form = kernels::GatedNormForm;
  const std::int64_t n = norm.dim;
  GatedNormResult r{Vector(x.size()), Vector(at(rows * norm.groups)), Vector(x.size()), Vector(proj.size()),
                    Vector(weight.size())};
  for (std::int64_t group = 0; group < rows * norm.groups; ++group) {
    const std::int64_t z_at = group / norm.groups * w + norm.z_at + group % norm.groups * norm.z_stride;
    const bool gate_first = norm.form == Form::silu_norm;
    std::vector<Activation> gate;
    Vector u;  // what is normalised
    double squares = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double z = proj[at(z_at + i)];
      gate.push_back(norm.form == Form::norm_sigmoid ? Activation{sigmoid(z), sigmoid(z) * sigmoid(-z)} : silu(z));
      u.push_back(x[at(group * n + i)] * (gate_first ? gate[at(i)].value : 1));
      squares += u[at(i)] * u[at(i)];
    }
    const double inv = 1 / std::sqrt(squares / static_cast<double>(n) + norm.eps);
    r.inv_rms[at(group)] = inv;
    for (std::int64_t i = 0; i < n; ++i) {
      const double normed = weight[at(i)] * u[at(i)] * inv;
      r.y[at(group * n + i)] = normed * (gate_first ? 1 : gate[at(i)].value);
      if (dy.empty()) continue;
      double du = 0;
      for (std::int64_t k = 0; k < n; ++k) {
        const double slope =
            (k == i ? inv : 0) - u[at(i)] * u[at(k)] * inv * inv * inv / static_cast<double>(n);  // of u_k inv by u_i
        du += dy[at(group * n + k)] * (gate_first ? 1 : gate[at(k)].value) * weight[at(k)] * slope;
      }
      const double d = dy[at(group * n + i)];
      r.dx[at(group * n + i)] = du * (gate_first ? gate[at(i)].value : 1);
      r.dproj[at(z_at + i)] = gate[at(i)].slope * (gate_first ? du * x[at(group * n + i)] : d * normed);
      r.dweight[at(i)] += d * (gate_first ? 1 : gate[at(i)].value) * u[at(i)] * inv;
    }
  }
  return r;
}

}  // namespace hylas::oracle
