// Recurrent rows: the loops around the recurrence of a mixer, on Vec: short convolution with silu, and the gated norm.
// All pointers are to one trial.
#pragma once

#include "kernels/cpu/vec.hpp"

namespace hylas::kernels::cpu {

// silu(a), and its derivative.
template <class V>
struct Silu {
  V value, slope;
};
template <class T, int Bytes>
[[gnu::always_inline]] inline Silu<typename Vec<T, Bytes>::V> silu(typename Vec<T, Bytes>::V a) {
  const auto sigmoid = T{1} / (T{1} + Vec<T, Bytes>::exp(-a));
  const auto value = a * sigmoid;
  return {value, sigmoid + value * (T{1} - sigmoid)};
}

// One segment of one sequence (kernels/short_conv.hpp).
template <class T>
struct ConvSequence {
  std::int64_t length = 0;          // T
  std::int64_t heads = 0, dim = 0;  // of the segment
  std::int64_t stride = 0;          // of heads in x
  std::int64_t width = 0;           // of a row of x, dx
  std::int64_t channels = 0;        // of a row of out, dout, weight, dweight
  bool normalised = false;
  const T* x = nullptr;       // this and what follows: at the segment's first column or channel
  const T* weight = nullptr;  // [5, channels]: the four taps, then the bias; null: no convolution
  const T* zeros = nullptr;   // [dim]
  T* out = nullptr;
  const T* dout = nullptr;
  T* dx = nullptr;
  T* dweight = nullptr;  // [5, channels], added to
  T* scratch = nullptr;  // backward: conv_scratch(heads, dim)
};

inline constexpr int kConvTaps = 4;
inline constexpr double kConvNormEps = 1e-6;

constexpr std::int64_t conv_scratch(std::int64_t heads, std::int64_t dim) {
  return kConvTaps * heads * dim + 2 * dim;
}

// What silu is taken of, for one head at one time.
template <class T, int Bytes, bool with_taps>
struct ConvHead {
  using L = Lanes<T, Bytes>;
  const T* x[kConvTaps];  // rows t - 3 .. t
  const T* weight;
  std::int64_t channels;

  [[gnu::always_inline]] ConvHead(const ConvSequence<T>& r, std::int64_t t, std::int64_t head)
      : weight(with_taps ? r.weight + head * r.dim : nullptr), channels(r.channels) {
    for (int j = 0; j < kConvTaps; ++j) {
      const std::int64_t row = t - (kConvTaps - 1) + j;
      x[j] = row >= 0 ? r.x + row * r.width + head * r.stride : r.zeros;
    }
  }
  template <class Step>
  [[gnu::always_inline]] auto at(std::int64_t i, Step s) const {
    if constexpr (!with_taps) {
      return L::load(x[kConvTaps - 1] + i, s);
    } else {
      auto a = L::load(weight + kConvTaps * channels + i, s);
      for (int j = 0; j < kConvTaps; ++j) a += L::load(weight + j * channels + i, s) * L::load(x[j] + i, s);
      return a;
    }
  }
};

template <class T, int Bytes>
[[gnu::always_inline]] inline T inverse_root(T x) {
  return T{1} / Vec<T, Bytes>::sqrt(Vec<T, Bytes>::all(x))[0];
}

template <class T, int Bytes, bool with_taps>
void conv_forward_of(const ConvSequence<T>& r) {
  using L = Lanes<T, Bytes>;
  for (std::int64_t t = 0; t < r.length; ++t) {
    for (std::int64_t head = 0; head < r.heads; ++head) {
      const ConvHead<T, Bytes, with_taps> in(r, t, head);
      T* out = r.out + t * r.channels + head * r.dim;
      RowSum<T, Bytes> squares;
      for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int part, auto s) {
        const auto y = silu<T, Bytes>(in.at(i, s)).value;
        squares.part[part] += y * y;
        L::store(out + i, y, s);
      });
      if (!r.normalised) continue;
      const T inv = inverse_root<T, Bytes>(squares.total() + static_cast<T>(kConvNormEps));
      for_each_vector<T, Bytes>(r.dim,
                                [&](std::int64_t i, int, auto s) { L::store(out + i, L::load(out + i, s) * inv, s); });
    }
  }
}

template <class T, int Bytes>
void conv_forward(const ConvSequence<T>& r) {
  r.weight != nullptr ? conv_forward_of<T, Bytes, true>(r) : conv_forward_of<T, Bytes, false>(r);
}

// da, the gradient of what silu is taken of, for one head at one time. `local` holds 2 dim.
template <class T, int Bytes, bool with_taps>
[[gnu::always_inline]] inline void conv_silu_backward(const ConvSequence<T>& r, const ConvHead<T, Bytes, with_taps>& in,
                                                      const T* dout, T* da, T* local) {
  using L = Lanes<T, Bytes>;
  if (!r.normalised) {
    for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int, auto s) {
      L::store(da + i, L::load(dout + i, s) * silu<T, Bytes>(in.at(i, s)).slope, s);
    });
    return;
  }
  RowSum<T, Bytes> squares, products;
  for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int part, auto s) {
    const auto y = silu<T, Bytes>(in.at(i, s));
    squares.part[part] += y.value * y.value;
    products.part[part] += y.value * L::load(dout + i, s);
    L::store(local + i, y.value, s);
    L::store(local + r.dim + i, y.slope, s);
  });
  const T inv = inverse_root<T, Bytes>(squares.total() + static_cast<T>(kConvNormEps));
  const T along = products.total() * inv * inv;  // of dout, along the head's vector
  for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int, auto s) {
    const auto dy = (L::load(dout + i, s) - L::load(local + i, s) * along) * inv;
    L::store(da + i, dy * L::load(local + r.dim + i, s), s);
  });
}

// From the last time to the first. The da of four times are kept: those that the four taps carry back to one x.
template <class T, int Bytes>
void conv_taps_backward(const ConvSequence<T>& r) {
  using L = Lanes<T, Bytes>;
  const std::int64_t ring_row = r.heads * r.dim;
  T* local = r.scratch + kConvTaps * ring_row;
  for (std::int64_t i = 0; i < kConvTaps * ring_row; ++i) r.scratch[i] = 0;
  for (std::int64_t t = r.length - 1; t >= 0; --t) {
    for (std::int64_t head = 0; head < r.heads; ++head) {
      const std::int64_t at = head * r.dim;
      const ConvHead<T, Bytes, true> in(r, t, head);
      T* later[kConvTaps];  // da of t, t + 1, t + 2, t + 3
      for (int j = 0; j < kConvTaps; ++j) later[j] = r.scratch + (t + j) % kConvTaps * ring_row + at;
      conv_silu_backward<T, Bytes, true>(r, in, r.dout + t * r.channels + at, later[0], local);
      T* dx = r.dx + t * r.width + head * r.stride;
      for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int, auto s) {
        const auto da = L::load(later[0] + i, s);
        auto sum = typename Vec<T, Bytes>::V{};
        for (int j = 0; j < kConvTaps; ++j) {
          sum += L::load(in.weight + j * r.channels + i, s) * L::load(later[kConvTaps - 1 - j] + i, s);
          T* dweight = r.dweight + j * r.channels + at + i;
          L::store(dweight, L::load(dweight, s) + da * L::load(in.x[j] + i, s), s);
        }
        L::store(dx + i, sum, s);
        T* dbias = r.dweight + kConvTaps * r.channels + at + i;
        L::store(dbias, L::load(dbias, s) + da, s);
      });
    }
  }
}

template <class T, int Bytes>
void conv_backward(const ConvSequence<T>& r) {
  if (r.weight != nullptr) {
    conv_taps_backward<T, Bytes>(r);
    return;
  }
  for (std::int64_t t = 0; t < r.length; ++t) {
    for (std::int64_t head = 0; head < r.heads; ++head) {
      conv_silu_backward<T, Bytes, false>(r, {r, t, head}, r.dout + t * r.channels + head * r.dim,
                                          r.dx + t * r.width + head * r.stride, r.scratch);
    }
  }
}

template <class T>
struct GatedNormRows {  // kernels/gated_norm.hpp
  std::int64_t rows = 0, groups = 0, dim = 0;
  std::int64_t z_stride = 0, width = 0;  // of z's groups; of a row of z, dz
  bool gate_first = false;               // silu_norm: the gate goes in before the norm
  bool sigmoid = false;                  // the gate is sigmoid(z), not silu(z)
  T eps = 0;
  const T* x = nullptr;
  const T* z = nullptr;  // at the first group's column
  const T* weight = nullptr;
  T* y = nullptr;  // forward: written
  T* inv_rms = nullptr;
  const T* dy = nullptr;
  T* dx = nullptr;
  T* dz = nullptr;
  T* dweight = nullptr;
};

// The gate and its derivative.
template <class T, int Bytes, bool sigmoid>
[[gnu::always_inline]] inline Silu<typename Vec<T, Bytes>::V> gate(typename Vec<T, Bytes>::V z) {
  if constexpr (!sigmoid) {
    return silu<T, Bytes>(z);
  } else {
    const auto value = T{1} / (T{1} + Vec<T, Bytes>::exp(-z));
    return {value, value * (T{1} - value)};
  }
}

template <class T, int Bytes, bool gate_first, bool sigmoid>
void gated_norm_forward_of(const GatedNormRows<T>& r) {
  using L = Lanes<T, Bytes>;
  for (std::int64_t row = 0; row < r.rows * r.groups; ++row) {
    const T* x = r.x + row * r.dim;
    const T* z = r.z + row / r.groups * r.width + row % r.groups * r.z_stride;
    T* y = r.y + row * r.dim;
    RowSum<T, Bytes> squares;
    for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int part, auto s) {
      auto u = L::load(x + i, s);
      if constexpr (gate_first) u *= gate<T, Bytes, sigmoid>(L::load(z + i, s)).value;
      squares.part[part] += u * u;
      if constexpr (gate_first) L::store(y + i, u, s);
    });
    const T inv = inverse_root<T, Bytes>(squares.total() / static_cast<T>(r.dim) + r.eps);
    r.inv_rms[row] = inv;
    for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int, auto s) {
      auto normed = L::load(r.weight + i, s) * (L::load((gate_first ? y : x) + i, s) * inv);
      if constexpr (!gate_first) normed *= gate<T, Bytes, sigmoid>(L::load(z + i, s)).value;
      L::store(y + i, normed, s);
    });
  }
}

template <class T, int Bytes, bool gate_first, bool sigmoid>
void gated_norm_backward_of(const GatedNormRows<T>& r) {
  using L = Lanes<T, Bytes>;
  for (std::int64_t row = 0; row < r.rows * r.groups; ++row) {
    const std::int64_t z_at = row / r.groups * r.width + row % r.groups * r.z_stride;
    const T* x = r.x + row * r.dim;
    const T* z = r.z + z_at;
    const T* dy = r.dy + row * r.dim;
    T* dx = r.dx + row * r.dim;
    T* dz = r.dz + z_at;
    const T inv = r.inv_rms[row];
    RowSum<T, Bytes> sum;  // of the gradient of the norm's output times weight times the normed
    for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int part, auto s) {
      const auto opening = gate<T, Bytes, sigmoid>(L::load(z + i, s)).value;
      const auto product = L::load(dy + i, s) * opening * (L::load(x + i, s) * inv);
      L::store(r.dweight + i, L::load(r.dweight + i, s) + product, s);
      sum.part[part] += product * L::load(r.weight + i, s);
    });
    const T mean = sum.total() / static_cast<T>(r.dim);
    for_each_vector<T, Bytes>(r.dim, [&](std::int64_t i, int, auto s) {
      const auto opening = gate<T, Bytes, sigmoid>(L::load(z + i, s));
      const auto dnormed = L::load(dy + i, s) * L::load(r.weight + i, s);
      const auto value = L::load(x + i, s);
      if constexpr (gate_first) {
        const auto du = (dnormed - value * opening.value * inv * mean) * inv;
        L::store(dx + i, du * opening.value, s);
        L::store(dz + i, du * value * opening.slope, s);
      } else {
        L::store(dx + i, (dnormed * opening.value - value * inv * mean) * inv, s);
        L::store(dz + i, dnormed * (value * inv) * opening.slope, s);
      }
    });
  }
}

template <class T, int Bytes>
void gated_norm_forward(const GatedNormRows<T>& r) {
  if (r.gate_first) {
    gated_norm_forward_of<T, Bytes, true, false>(r);
  } else {
    r.sigmoid ? gated_norm_forward_of<T, Bytes, false, true>(r) : gated_norm_forward_of<T, Bytes, false, false>(r);
  }
}

template <class T, int Bytes>
void gated_norm_backward(const GatedNormRows<T>& r) {
  if (r.gate_first) {
    gated_norm_backward_of<T, Bytes, true, false>(r);
  } else {
    r.sigmoid ? gated_norm_backward_of<T, Bytes, false, true>(r) : gated_norm_backward_of<T, Bytes, false, false>(r);
  }
}

}  // namespace hylas::kernels::cpu
