// The oracle of recurrence: token by token, with a backward pass derived from the same recurrence in reversed time; no
// chunks. See dense.hpp.
//
//   forward    D = e^g S-;  r = delta D^T k;  w = beta (v - r);  S = D + k w^T;  o = scale S^T q + skip v
//   backward   dS += scale q do^T;  dw = dS^T k;  dr = -delta beta dw;  dD = dS + k dr^T;  dS- = e^g dD
//              dq = scale S do;  dk = dS w + D dr;  dv = beta dw + skip do;  dbeta = dw . (v - r);  dg = <dD, D>
#pragma once

#include <optional>

#include "tests/oracle/dense.hpp"

namespace hylas::oracle {

struct RecurrenceShape {
  std::int64_t batch = 1, length = 1, heads = 1, groups = 1, key_dim = 1, value_dim = 1;
  std::int64_t width = 3, q_at = 0, k_at = 1, v_at = 2;
  double scale = 1;
  bool delta = false;

  [[nodiscard]] std::int64_t gates() const { return batch * length * heads; }
  [[nodiscard]] std::int64_t outputs() const { return gates() * value_dim; }
};

// qkv [B, T, width], g [B, T, H], beta [B, T, H] or nothing (1), skip [H] or nothing (0).
struct RecurrenceInput {
  Vector qkv, g;
  std::optional<Vector> beta, skip;
};

struct RecurrenceGradient {
  Vector dqkv, dg, dbeta, dskip;  // dqkv is zero outside the columns of q, k and v
};

namespace detail {

// Head h of sequence b: where its elements lie, and everything the recurrence makes.
struct RecurrentHead {
  const RecurrenceShape& s;
  const RecurrenceInput& in;
  std::int64_t b, h;
  Vector states = {};              // [T + 1][K][V], S_0 = 0
  Vector decayed = {};             // [T][K][V], e^g S
  Vector unread = {}, write = {};  // [T][V], v - r and w

  [[nodiscard]] std::size_t column(std::int64_t t, std::int64_t c) const {
    return at((b * s.length + t) * s.width + c);
  }
  [[nodiscard]] std::size_t query(std::int64_t t, std::int64_t i) const {
    return column(t, s.q_at + h / (s.heads / s.groups) * s.key_dim + i);
  }
  [[nodiscard]] std::size_t key(std::int64_t t, std::int64_t i) const {
    return column(t, s.k_at + h / (s.heads / s.groups) * s.key_dim + i);
  }
  [[nodiscard]] std::size_t value(std::int64_t t, std::int64_t j) const {
    return column(t, s.v_at + h * s.value_dim + j);
  }
  [[nodiscard]] std::size_t gate(std::int64_t t) const { return at((b * s.length + t) * s.heads + h); }
  [[nodiscard]] std::size_t output(std::int64_t t, std::int64_t j) const { return gate(t) * at(s.value_dim) + at(j); }
  [[nodiscard]] std::size_t cell(std::int64_t t, std::int64_t i, std::int64_t j) const {
    return at((t * s.key_dim + i) * s.value_dim + j);
  }
  [[nodiscard]] std::size_t row(std::int64_t t, std::int64_t j) const { return at(t * s.value_dim + j); }
  [[nodiscard]] double beta(std::int64_t t) const { return in.beta ? (*in.beta)[gate(t)] : 1; }
  [[nodiscard]] double skip() const { return in.skip ? (*in.skip)[at(h)] : 0; }

  void walk() {
    states.assign(at((s.length + 1) * s.key_dim * s.value_dim), 0);
    decayed.assign(at(s.length * s.key_dim * s.value_dim), 0);
    unread.assign(at(s.length * s.value_dim), 0);
    write = unread;
    for (std::int64_t t = 0; t < s.length; ++t) {
      for (std::int64_t j = 0; j < s.value_dim; ++j) {
        double read = 0;
        for (std::int64_t i = 0; i < s.key_dim; ++i) {
          decayed[cell(t, i, j)] = std::exp(in.g[gate(t)]) * states[cell(t, i, j)];
          if (s.delta) read += decayed[cell(t, i, j)] * in.qkv[key(t, i)];
        }
        unread[row(t, j)] = in.qkv[value(t, j)] - read;
        write[row(t, j)] = beta(t) * unread[row(t, j)];
        for (std::int64_t i = 0; i < s.key_dim; ++i) {
          states[cell(t + 1, i, j)] = decayed[cell(t, i, j)] + in.qkv[key(t, i)] * write[row(t, j)];
        }
      }
    }
  }

  void outputs(Vector& out) const {
    for (std::int64_t t = 0; t < s.length; ++t) {
      for (std::int64_t j = 0; j < s.value_dim; ++j) {
        double sum = 0;
        for (std::int64_t i = 0; i < s.key_dim; ++i) sum += states[cell(t + 1, i, j)] * in.qkv[query(t, i)];
        out[output(t, j)] = s.scale * sum + skip() * in.qkv[value(t, j)];
      }
    }
  }

  void backward(const Vector& dout, RecurrenceGradient& d) const {
    Vector dstate(at(s.key_dim * s.value_dim));  // of S_t, from what comes after t
    for (std::int64_t t = s.length - 1; t >= 0; --t) {
      for (std::int64_t j = 0; j < s.value_dim; ++j) {
        const double dy = dout[output(t, j)];
        double dwrite = 0;
        for (std::int64_t i = 0; i < s.key_dim; ++i) {
          double& ds = dstate[cell(0, i, j)];
          ds += s.scale * in.qkv[query(t, i)] * dy;
          d.dqkv[query(t, i)] += s.scale * states[cell(t + 1, i, j)] * dy;
          d.dqkv[key(t, i)] += ds * write[row(t, j)];
          dwrite += ds * in.qkv[key(t, i)];
        }
        const double dread = s.delta ? -beta(t) * dwrite : 0;
        for (std::int64_t i = 0; i < s.key_dim; ++i) {
          double& ds = dstate[cell(0, i, j)];
          ds += in.qkv[key(t, i)] * dread;
          d.dqkv[key(t, i)] += decayed[cell(t, i, j)] * dread;
          d.dg[gate(t)] += ds * decayed[cell(t, i, j)];
          ds *= std::exp(in.g[gate(t)]);
        }
        d.dqkv[value(t, j)] += beta(t) * dwrite + skip() * dy;
        d.dbeta[gate(t)] += dwrite * unread[row(t, j)];
        d.dskip[at(h)] += dy * in.qkv[value(t, j)];
      }
    }
  }
};

}  // namespace detail

// out [B, T, H V]
inline Vector recurrence(const RecurrenceShape& s, const RecurrenceInput& in) {
  Vector out(at(s.outputs()));
  for (std::int64_t i = 0; i < s.batch * s.heads; ++i) {
    detail::RecurrentHead head{s, in, i / s.heads, i % s.heads};
    head.walk();
    head.outputs(out);
  }
  return out;
}

inline RecurrenceGradient recurrence_backward(const RecurrenceShape& s, const RecurrenceInput& in, const Vector& dout) {
  RecurrenceGradient d{Vector(in.qkv.size()), Vector(at(s.gates())), Vector(at(s.gates())), Vector(at(s.heads))};
  for (std::int64_t i = 0; i < s.batch * s.heads; ++i) {
    detail::RecurrentHead head{s, in, i / s.heads, i % s.heads};
    head.walk();
    head.backward(dout, d);
  }
  return d;
}

}  // namespace hylas::oracle
