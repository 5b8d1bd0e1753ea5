// Rows: the element-wise operators and those that reduce a row, on Vec: rmsnorm, swiglu, softmax cross-entropy,
// rotation, AdamW. All pointers are to contiguous rows of one trial.
#pragma once

#include "kernels/cpu/vec.hpp"

namespace hylas::kernels::cpu {

template <class T, int Bytes>
[[gnu::always_inline]] inline T dot(const T* a, const T* b, std::int64_t n) {
  using L = Lanes<T, Bytes>;
  RowSum<T, Bytes> sum;
  for_each_vector<T, Bytes>(
      n, [&](std::int64_t i, int part, auto s) { sum.part[part] += L::load(a + i, s) * L::load(b + i, s); });
  return sum.total();
}

template <class T>
struct NormRows {
  std::int64_t rows = 0, columns = 0;
  T eps = 0;
  T* x = nullptr;             // forward: += branch; backward: read
  const T* branch = nullptr;  // or null
  const T* weight = nullptr;
  T* h = nullptr;  // forward: written
  T* inv_rms = nullptr;
  const T* dh = nullptr;
  T* dx = nullptr;
  T* dweight = nullptr;
};

template <class T, int Bytes>
void rmsnorm_forward(const NormRows<T>& r) {
  using L = Lanes<T, Bytes>;
  for (std::int64_t row = 0; row < r.rows; ++row) {
    T* x = r.x + row * r.columns;
    T* h = r.h + row * r.columns;
    if (r.branch != nullptr) {
      const T* branch = r.branch + row * r.columns;
      for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int, auto s) {
        L::store(x + i, L::load(x + i, s) + L::load(branch + i, s), s);
      });
    }
    const T mean = dot<T, Bytes>(x, x, r.columns) / static_cast<T>(r.columns);
    const T inv = T{1} / Vec<T, Bytes>::sqrt(Vec<T, Bytes>::all(mean + r.eps))[0];
    r.inv_rms[row] = inv;
    for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int, auto s) {
      L::store(h + i, L::load(r.weight + i, s) * (L::load(x + i, s) * inv), s);
    });
  }
}

template <class T, int Bytes>
void rmsnorm_backward(const NormRows<T>& r) {
  using L = Lanes<T, Bytes>;
  for (std::int64_t row = 0; row < r.rows; ++row) {
    const T* x = r.x + row * r.columns;
    const T* dh = r.dh + row * r.columns;
    T* dx = r.dx + row * r.columns;
    const T inv = r.inv_rms[row];
    RowSum<T, Bytes> sum;
    for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int part, auto s) {
      const auto normed = L::load(x + i, s) * inv;
      const auto product = L::load(dh + i, s) * normed;
      L::store(r.dweight + i, L::load(r.dweight + i, s) + product, s);
      sum.part[part] += product * L::load(r.weight + i, s);
    });
    const T mean = sum.total() / static_cast<T>(r.columns);
    for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int, auto s) {
      const auto gradient = L::load(dh + i, s) * L::load(r.weight + i, s) - L::load(x + i, s) * inv * mean;
      L::store(dx + i, L::load(dx + i, s) + gradient * inv, s);
    });
  }
}

template <class T>
struct GateRows {
  std::int64_t rows = 0, columns = 0;  // columns: f
  const T* gate_up = nullptr;          // [rows, 2 f]
  T* out = nullptr;
  const T* dout = nullptr;
  T* dgate_up = nullptr;
};

template <class T, int Bytes>
void swiglu_forward(const GateRows<T>& r) {
  using A = Vec<T, Bytes>;
  using L = Lanes<T, Bytes>;
  for (std::int64_t row = 0; row < r.rows; ++row) {
    const T* gate = r.gate_up + row * 2 * r.columns;
    const T* up = gate + r.columns;
    T* out = r.out + row * r.columns;
    for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int, auto s) {
      const auto g = L::load(gate + i, s);
      L::store(out + i, g / (T{1} + A::exp(-g)) * L::load(up + i, s), s);
    });
  }
}

template <class T, int Bytes>
void swiglu_backward(const GateRows<T>& r) {
  using A = Vec<T, Bytes>;
  using L = Lanes<T, Bytes>;
  for (std::int64_t row = 0; row < r.rows; ++row) {
    const T* gate = r.gate_up + row * 2 * r.columns;
    const T* up = gate + r.columns;
    const T* dout = r.dout + row * r.columns;
    T* dgate = r.dgate_up + row * 2 * r.columns;
    T* dup = dgate + r.columns;
    for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int, auto s) {
      const auto g = L::load(gate + i, s);
      const auto sigmoid = T{1} / (T{1} + A::exp(-g));
      const auto d = L::load(dout + i, s);
      const auto silu = g * sigmoid;
      L::store(dup + i, d * silu, s);
      L::store(dgate + i, d * L::load(up + i, s) * (sigmoid + silu * (T{1} - sigmoid)), s);
    });
  }
}

template <class T>
struct RotateRows {  // one row: `heads` heads of dim `2 * half`
  std::int64_t heads = 0, half = 0;
  const T* cos = nullptr;
  const T* sin = nullptr;
  T* x = nullptr;
  T sign = 1;  // -1: the transposed rotation
};

template <class T, int Bytes>
void rotate(const RotateRows<T>& r) {
  using L = Lanes<T, Bytes>;
  for (std::int64_t head = 0; head < r.heads; ++head) {
    T* a = r.x + head * 2 * r.half;
    T* b = a + r.half;
    for_each_vector<T, Bytes>(r.half, [&](std::int64_t i, int, auto s) {
      const auto cos = L::load(r.cos + i, s);
      const auto sin = L::load(r.sin + i, s) * r.sign;
      const auto x = L::load(a + i, s);
      const auto y = L::load(b + i, s);
      L::store(a + i, x * cos - y * sin, s);
      L::store(b + i, y * cos + x * sin, s);
    });
  }
}

// Softmax cross-entropy of one row of logits. Returns the loss; with `gradient`, logits become scale *
// d(loss)/d(logits).
template <class T>
struct LogitRow {
  std::int64_t columns = 0;
  T* logits = nullptr;
  std::int64_t target = 0;
  bool gradient = false;
  T scale = 1;
  T loss = 0;                // result
  std::int64_t arg_max = 0;  // result: the lowest index among equals
};

template <class T, int Bytes>
void cross_entropy(LogitRow<T>& r) {
  using A = Vec<T, Bytes>;
  using L = Lanes<T, Bytes>;
  T largest = r.logits[0];
  r.arg_max = 0;
  auto greatest = A::all(largest);
  for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int, auto s) {
    if constexpr (decltype(s)::whole) {
      greatest = A::max(L::load(r.logits + i, s), greatest);
    } else {
      for (std::int64_t j = i; j < r.columns; ++j) greatest[0] = r.logits[j] > greatest[0] ? r.logits[j] : greatest[0];
    }
  });
  for (int i = 0; i < A::lanes; ++i) largest = greatest[i] > largest ? greatest[i] : largest;
  while (r.arg_max < r.columns - 1 && r.logits[r.arg_max] != largest) ++r.arg_max;
  const T target = r.logits[r.target];
  RowSum<T, Bytes> sum;
  for_each_vector<T, Bytes>(r.columns, [&](std::int64_t i, int part, auto s) {
    auto e = A::exp(L::load(r.logits + i, s) - largest);
    if constexpr (!decltype(s)::whole) e = A::load(reinterpret_cast<const T*>(&e), s.n);
    sum.part[part] += e;
    if (r.gradient) L::store(r.logits + i, e, s);
  });
  const T total = sum.total();
  const T log_total = sizeof(T) == 4 ? static_cast<T>(__builtin_logf(static_cast<float>(total)))
                                     : static_cast<T>(__builtin_log(static_cast<double>(total)));
  r.loss = log_total - (target - largest);
  if (!r.gradient) return;
  const T factor = r.scale / total;
  for_each_vector<T, Bytes>(
      r.columns, [&](std::int64_t i, int, auto s) { L::store(r.logits + i, L::load(r.logits + i, s) * factor, s); });
  r.logits[r.target] -= r.scale;
}

template <class T>
struct AdamWBlock {
  std::int64_t count = 0;
  T beta1 = 0, beta2 = 0, eps = 0;
  T clip_scale = 0;
  T step_size = 0;            // lr / (1 - beta1^step)
  T inv_sqrt_correction = 0;  // 1 / sqrt(1 - beta2^step)
  T decay = 0;                // lr * weight_decay, or 0
  T* param = nullptr;
  const T* grad = nullptr;
  T* m = nullptr;
  T* v = nullptr;
};

template <class T, int Bytes>
void adamw(const AdamWBlock<T>& b) {
  using A = Vec<T, Bytes>;
  using L = Lanes<T, Bytes>;
  for_each_vector<T, Bytes>(b.count, [&](std::int64_t i, int, auto s) {
    const auto g = L::load(b.grad + i, s) * b.clip_scale;
    const auto m = b.beta1 * L::load(b.m + i, s) + (T{1} - b.beta1) * g;
    const auto v = b.beta2 * L::load(b.v + i, s) + (T{1} - b.beta2) * (g * g);
    const auto p = L::load(b.param + i, s);
    const auto update = b.step_size * m / (A::sqrt(v) * b.inv_sqrt_correction + b.eps);
    L::store(b.m + i, m, s);
    L::store(b.v + i, v, s);
    L::store(b.param + i, p - update - b.decay * p, s);
  });
}

// The sum of squares in double, whatever T is.
template <class T, int Bytes>
double sum_of_squares(const T* x, std::int64_t n) {
  double part[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) part[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
  }
  for (int j = 0; i < n; ++i, ++j) part[j] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

template <class T, int Bytes>
void add(const T* from, T* to, std::int64_t n) {
  using L = Lanes<T, Bytes>;
  for_each_vector<T, Bytes>(
      n, [&](std::int64_t i, int, auto s) { L::store(to + i, L::load(to + i, s) + L::load(from + i, s), s); });
}

}  // namespace hylas::kernels::cpu
