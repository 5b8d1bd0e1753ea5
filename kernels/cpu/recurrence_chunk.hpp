// One group of heads of one sequence through the recurrence, chunk by chunk: what both passes share, and the forward
// pass. Formulas: kernels/README.md, "The recurrence in chunks".
//
// Sequences and states are walked in order, so the delta rule's right-hand side beta (v - e^G S^T k) is known when a
// chunk begins and one triangular solve gives what the chunk writes. Matrices of a chunk are row-major with rows padded
// to whole vectors; the padding is read by products and never reaches a result.
#pragma once

#include "kernels/cpu/gemm.hpp"
#include "kernels/cpu/rows.hpp"

namespace hylas::kernels::cpu {

template <class T>
struct RecurrenceGroup {
  std::int64_t length = 0, chunk = 1;          // tokens
  std::int64_t heads = 1;                      // that share queries and keys
  std::int64_t key_dim = 0, value_dim = 0;     // K, V
  std::int64_t stride = 0, out_stride = 0;     // from a token to the next in q, k, v and in out
  std::int64_t g_stride = 0, gate_stride = 0;  // in g (0: constant), and in beta, dg, dbeta
  T scale = 1;
  bool delta = false;
  const T *q = nullptr, *k = nullptr, *v = nullptr;        // v, g, beta, skip, out, ...: of the group's first head
  const T *g = nullptr, *beta = nullptr, *skip = nullptr;  // beta and skip null: 1 and 0
  T* out = nullptr;
  T* states = nullptr;  // [heads][chunks][K][padded V], the state before each chunk; the first one is not used
  const T* dout = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;        // written
  T *dg = nullptr, *dbeta = nullptr, *dskip = nullptr;  // written, written, added to; null: not wanted
};

constexpr std::int64_t recurrence_padding = 16;  // elements: whole vectors of every instruction set
constexpr std::int64_t recurrence_rows = 12;     // of a block of a triangular product: whole tiles of gemm.hpp

[[gnu::always_inline]] inline constexpr std::int64_t recurrence_padded(std::int64_t n) {
  return (n + recurrence_padding - 1) / recurrence_padding * recurrence_padding;
}

// Scratch for chunks of C tokens; a stroke marks padding. All of it is the operator's (recurrence.cpp takes it).
template <class T>
struct RecurrenceBuffers {
  double* log_decay = nullptr;                                  // G [C']
  T *from_start = nullptr, *to_end = nullptr, *beta = nullptr;  // e^G, e^{G_C - G}, beta [C']
  T *q = nullptr, *k = nullptr, *k_t = nullptr;                 // [C][K'], [C][K'], [K][C']
  T *qk = nullptr, *kk = nullptr;                               // q k^T, k k^T [C][C']
  T *decay = nullptr, *scores = nullptr, *solve = nullptr;      // D, q k^T * D, -A [C][C']
  T *read = nullptr, *written = nullptr, *values = nullptr;     // [C][V']: K S, V', and outputs or v - e^G K S
  // Backward only.
  T *dout = nullptr, *dwritten = nullptr, *dread = nullptr;      // [C][V']
  T *dscores = nullptr, *dsolve = nullptr, *segments = nullptr;  // [C][C']
  T *dscores_sum = nullptr, *dsolve_sum = nullptr;               // [C][C'], over the heads
  T *dq = nullptr, *dk = nullptr, *dq_head = nullptr;            // [C][K']
  T *written_t = nullptr, *state_t = nullptr;                    // [V][C'], [V][K']
  T *inter = nullptr, *later = nullptr, *suffix = nullptr;       // [C']
  T* dstates = nullptr;                                          // [heads][K][V']
};

// The chunk that begins at token `first`.
struct RecurrenceChunk {
  std::int64_t first = 0, rows = 0;
  bool has_past = false, has_future = false;  // chunks before and after
};

template <class T>
[[gnu::always_inline]] inline RecurrenceChunk chunk_at(const RecurrenceGroup<T>& s, std::int64_t index) {
  const std::int64_t first = index * s.chunk;
  const std::int64_t left = s.length - first;
  return {first, left < s.chunk ? left : s.chunk, index > 0, left > s.chunk};
}

template <class T, int Bytes>
void copy_scaled(std::int64_t rows, std::int64_t dim, const T* from, std::int64_t from_stride, T factor, T* to,
                 std::int64_t to_stride) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < dim; ++c) to[i * to_stride + c] = factor * from[i * from_stride + c];
  }
}

template <class T, int Bytes>
void scale_rows(std::int64_t rows, std::int64_t dim, const T* factor, T* x, std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < dim; ++c) x[i * stride + c] *= factor[i];
  }
}

// C (+)= L B for a lower triangular L [rows][stride].
template <class T, int Bytes>
void lower_times(std::int64_t rows, std::int64_t n, const T* lower, std::int64_t stride, const T* b,
                 std::int64_t b_stride, T* c, std::int64_t c_stride, bool add) {
  for (std::int64_t i = 0; i < rows; i += recurrence_rows) {
    const std::int64_t m = rows - i < recurrence_rows ? rows - i : recurrence_rows;
    padded_gemm<T, Bytes, false>(m, n, i + m, {lower + i * stride, stride}, b, b_stride, c + i * c_stride, c_stride,
                                 add);
  }
}

// C (+)= L^T B.
template <class T, int Bytes>
void lower_transposed_times(std::int64_t rows, std::int64_t n, const T* lower, std::int64_t stride, const T* b,
                            std::int64_t b_stride, T* c, std::int64_t c_stride, bool add) {
  for (std::int64_t j = 0; j < rows; j += recurrence_rows) {
    const std::int64_t m = rows - j < recurrence_rows ? rows - j : recurrence_rows;
    padded_gemm<T, Bytes, true>(m, n, rows - j, {lower + j * stride + j, stride}, b + j * b_stride, b_stride,
                                c + j * c_stride, c_stride, add);
  }
}

// The lower triangle of X Y, Y [depth][padded rows]; what lies above it is not defined.
template <class T, int Bytes>
void lower_product(std::int64_t rows, std::int64_t depth, const T* x, std::int64_t x_stride, const T* y, T* lower,
                   std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; i += recurrence_rows) {
    const std::int64_t m = rows - i < recurrence_rows ? rows - i : recurrence_rows;
    padded_gemm<T, Bytes, false>(m, recurrence_padded(i + m), depth, {x + i * x_stride, x_stride}, y, stride,
                                 lower + i * stride, stride, false);
  }
}

// x becomes (I + A)^-1 x, block by block; `minus` holds -A, strictly lower.
template <class T, int Bytes>
void solve_lower(std::int64_t rows, std::int64_t n, const T* minus, std::int64_t stride, T* x, std::int64_t x_stride) {
  for (std::int64_t begin = 0; begin < rows; begin += recurrence_rows) {
    const std::int64_t end = begin + recurrence_rows < rows ? begin + recurrence_rows : rows;
    if (begin > 0) {
      padded_gemm<T, Bytes, false>(end - begin, n, begin, {minus + begin * stride, stride}, x, x_stride,
                                   x + begin * x_stride, x_stride, true);
    }
    for (std::int64_t i = begin + 1; i < end; ++i) {
      padded_gemm<T, Bytes, false>(1, n, i - begin, {minus + i * stride + begin, stride}, x + begin * x_stride,
                                   x_stride, x + i * x_stride, x_stride, true);
    }
  }
}

// x becomes (I + A)^-T x.
template <class T, int Bytes>
void solve_lower_transposed(std::int64_t rows, std::int64_t n, const T* minus, std::int64_t stride, T* x,
                            std::int64_t x_stride) {
  const std::int64_t last = (rows - 1) / recurrence_rows * recurrence_rows;
  for (std::int64_t begin = last; begin >= 0; begin -= recurrence_rows) {
    const std::int64_t end = begin + recurrence_rows < rows ? begin + recurrence_rows : rows;
    if (end < rows) {
      padded_gemm<T, Bytes, true>(end - begin, n, rows - end, {minus + end * stride + begin, stride},
                                  x + end * x_stride, x_stride, x + begin * x_stride, x_stride, true);
    }
    for (std::int64_t i = end - 2; i >= begin; --i) {
      padded_gemm<T, Bytes, true>(1, n, end - 1 - i, {minus + (i + 1) * stride + i, stride}, x + (i + 1) * x_stride,
                                  x_stride, x + i * x_stride, x_stride, true);
    }
  }
}

template <class T, int Bytes>
void exp_in_place(std::int64_t n, T* x) {
  using A = Vec<T, Bytes>;
  for (std::int64_t i = 0; i < n; i += A::lanes) A::store(x + i, A::exp(A::load(x + i)));
}

// G, e^G, e^{G_C - G}, beta and D of a head. G is summed in double: its differences keep their digits after strong
// decay. A step below -750 (where e^g is 0 in double too) counts as -750, which keeps -inf out of the differences.
template <class T, int Bytes>
void chunk_decay(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, std::int64_t head,
                 const RecurrenceBuffers<T>& at) {
  using A = Vec<T, Bytes>;
  const std::int64_t padded = recurrence_padded(c.rows);
  double total = 0;
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const auto g = static_cast<double>(s.g[(c.first + i) * s.g_stride + head]);
    total += g < -750.0 ? -750.0 : g;
    at.log_decay[i] = total;
    at.beta[i] = s.beta != nullptr ? s.beta[(c.first + i) * s.gate_stride + head] : T{1};
  }
  for (std::int64_t i = c.rows; i < padded; ++i) at.log_decay[i] = total;
  for (std::int64_t i = 0; i < padded; ++i) {
    at.from_start[i] = static_cast<T>(at.log_decay[i]);
    at.to_end[i] = static_cast<T>(total - at.log_decay[i]);
  }
  exp_in_place<T, Bytes>(padded, at.from_start);
  exp_in_place<T, Bytes>(padded, at.to_end);
  for (std::int64_t i = 0; i < c.rows; ++i) {
    T* row = at.decay + i * padded;
    const std::int64_t end = i / A::lanes * A::lanes + A::lanes;
    for (std::int64_t j = 0; j < end; ++j) row[j] = static_cast<T>(at.log_decay[i] - at.log_decay[j]);
    for (std::int64_t j = 0; j < end; j += A::lanes) {
      const auto seen = A::iota() <= static_cast<T>(i - j);
      A::store(row + j, A::exp(seen ? A::load(row + j) : A::all(T{-1e30F})));
    }
    for (std::int64_t j = end; j < padded; ++j) row[j] = T{};
  }
}

// d * x, but 0 where d is 0, whatever x is: above the diagonal x is not defined.
template <class T, int Bytes>
[[gnu::always_inline]] inline typename Vec<T, Bytes>::V masked(typename Vec<T, Bytes>::V d,
                                                               typename Vec<T, Bytes>::V x) {
  return d == T{} ? typename Vec<T, Bytes>::V{} : d * x;
}

// The chunk's q, k, k^T, q k^T and, for the delta rule, k k^T: the same for all heads of the group.
template <class T, int Bytes>
void chunk_keys(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, const RecurrenceBuffers<T>& at) {
  const std::int64_t padded = recurrence_padded(c.rows);
  const std::int64_t width = recurrence_padded(s.key_dim);
  copy_scaled<T, Bytes>(c.rows, s.key_dim, s.q + c.first * s.stride, s.stride, T{1}, at.q, width);
  copy_scaled<T, Bytes>(c.rows, s.key_dim, s.k + c.first * s.stride, s.stride, T{1}, at.k, width);
  transpose<T, Bytes>(c.rows, s.key_dim, at.k, width, nullptr, at.k_t, padded);
  lower_product<T, Bytes>(c.rows, s.key_dim, at.q, width, at.k_t, at.qk, padded);
  if (s.delta) lower_product<T, Bytes>(c.rows, s.key_dim, at.k, width, at.k_t, at.kk, padded);
}

// Scores q k^T * D, and -A = -strictly_lower(beta k k^T * D).
template <class T, int Bytes>
void chunk_scores(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, const RecurrenceBuffers<T>& at) {
  using A = Vec<T, Bytes>;
  const std::int64_t padded = recurrence_padded(c.rows);
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const std::int64_t row = i * padded;
    for (std::int64_t j = row; j < row + padded; j += A::lanes) {
      const auto d = A::load(at.decay + j);
      A::store(at.scores + j, masked<T, Bytes>(d, A::load(at.qk + j)));
      if (s.delta) A::store(at.solve + j, masked<T, Bytes>(d, -at.beta[i] * A::load(at.kk + j)));
    }
    if (s.delta) at.solve[row + i] = T{};
  }
}

// at.values = v - e^G K S for the delta rule, else v; at.written = V', what the chunk's tokens write.
template <class T, int Bytes>
void chunk_written(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, std::int64_t head, const T* state,
                   const RecurrenceBuffers<T>& at) {
  const std::int64_t width = recurrence_padded(s.value_dim);
  const std::int64_t keys = recurrence_padded(s.key_dim);
  const T* v = s.v + c.first * s.stride + head * s.value_dim;
  const bool reads = s.delta && c.has_past;
  if (reads) {
    padded_gemm<T, Bytes, false>(c.rows, s.value_dim, s.key_dim, {at.k, keys}, state, width, at.read, width, false);
  }
  for (std::int64_t i = 0; i < c.rows; ++i) {
    T* value = at.values + i * width;
    const T* read = at.read + i * width;
    if (reads) {
      for (std::int64_t x = 0; x < s.value_dim; ++x) value[x] = v[i * s.stride + x] - at.from_start[i] * read[x];
    } else {
      for (std::int64_t x = 0; x < s.value_dim; ++x) value[x] = v[i * s.stride + x];
    }
    for (std::int64_t x = 0; x < s.value_dim; ++x) at.written[i * width + x] = at.beta[i] * value[x];
  }
  if (s.delta) {
    solve_lower<T, Bytes>(c.rows, s.value_dim, at.solve, recurrence_padded(c.rows), at.written, width);
  }
}

// out = scale (e^G Q S + scores V') + skip v
template <class T, int Bytes>
void chunk_output(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, std::int64_t head, const T* state,
                  const RecurrenceBuffers<T>& at) {
  const std::int64_t width = recurrence_padded(s.value_dim);
  if (c.has_past) {
    padded_gemm<T, Bytes, false>(c.rows, s.value_dim, s.key_dim, {at.q, recurrence_padded(s.key_dim)}, state, width,
                                 at.values, width, false);
    scale_rows<T, Bytes>(c.rows, s.value_dim, at.from_start, at.values, width);
  }
  lower_times<T, Bytes>(c.rows, s.value_dim, at.scores, recurrence_padded(c.rows), at.written, width, at.values, width,
                        c.has_past);
  const T skip = s.skip != nullptr ? s.skip[head] : T{};
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const T* v = s.v + (c.first + i) * s.stride + head * s.value_dim;
    T* out = s.out + (c.first + i) * s.out_stride + head * s.value_dim;
    if (s.skip != nullptr) {
      for (std::int64_t x = 0; x < s.value_dim; ++x) out[x] = s.scale * at.values[i * width + x] + skip * v[x];
    } else {
      for (std::int64_t x = 0; x < s.value_dim; ++x) out[x] = s.scale * at.values[i * width + x];
    }
  }
}

// next = e^{G_C} state + (e^{G_C - G} K)^T V'; at.written is scaled by e^{G_C - G}.
template <class T, int Bytes>
void chunk_state(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, const T* state, T* next,
                 const RecurrenceBuffers<T>& at) {
  const std::int64_t width = recurrence_padded(s.value_dim);
  scale_rows<T, Bytes>(c.rows, s.value_dim, at.to_end, at.written, width);
  if (c.has_past) {
    copy_scaled<T, Bytes>(s.key_dim, s.value_dim, state, width, at.from_start[c.rows - 1], next, width);
  }
  padded_gemm<T, Bytes, true>(s.key_dim, s.value_dim, c.rows, {at.k, recurrence_padded(s.key_dim)}, at.written, width,
                              next, width, c.has_past);
}

template <class T, int Bytes>
void recurrence_forward_group(const RecurrenceGroup<T>& s, const RecurrenceBuffers<T>& at) {
  const std::int64_t chunks = (s.length + s.chunk - 1) / s.chunk;
  const std::int64_t size = s.key_dim * recurrence_padded(s.value_dim);
  for (std::int64_t index = 0; index < chunks; ++index) {
    const RecurrenceChunk c = chunk_at(s, index);
    chunk_keys<T, Bytes>(s, c, at);
    for (std::int64_t head = 0; head < s.heads; ++head) {
      T* state = s.states + (head * chunks + index) * size;
      chunk_decay<T, Bytes>(s, c, head, at);
      chunk_scores<T, Bytes>(s, c, at);
      chunk_written<T, Bytes>(s, c, head, state, at);
      chunk_output<T, Bytes>(s, c, head, state, at);
      if (c.has_future) chunk_state<T, Bytes>(s, c, state, state + size, at);
    }
  }
}

}  // namespace hylas::kernels::cpu
