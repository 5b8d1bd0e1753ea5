// The backward pass of recurrence_chunk.hpp, right to left over chunks. V' and everything inside a chunk is made again
// from the state before it. Formulas: kernels/README.md, "The recurrence in chunks".
#pragma once

#include "kernels/cpu/recurrence_chunk.hpp"

namespace hylas::kernels::cpu {

// at.dout = scale dout; at.dwritten becomes dV' = scores^T dout + e^{G_C - G} K dS, then Z = (I + A)^-T dV' with the
// delta rule; at.later_j = <(e^{G_C - G} V' dS^T)_j, k_j>.
template <class T, int Bytes>
void chunk_dwritten(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, std::int64_t head, const T* dstate,
                    const RecurrenceBuffers<T>& at) {
  const std::int64_t padded = recurrence_padded(c.rows);
  const std::int64_t width = recurrence_padded(s.value_dim);
  copy_scaled<T, Bytes>(c.rows, s.value_dim, s.dout + c.first * s.out_stride + head * s.value_dim, s.out_stride,
                        s.scale, at.dout, width);
  if (c.has_future) {
    padded_gemm<T, Bytes, false>(c.rows, s.value_dim, s.key_dim, {at.k, recurrence_padded(s.key_dim)}, dstate, width,
                                 at.dwritten, width, false);
    scale_rows<T, Bytes>(c.rows, s.value_dim, at.to_end, at.dwritten, width);
  }
  for (std::int64_t i = 0; i < c.rows; ++i) {
    at.later[i] = c.has_future ? dot<T, Bytes>(at.written + i * width, at.dwritten + i * width, s.value_dim) : T{};
  }
  lower_transposed_times<T, Bytes>(c.rows, s.value_dim, at.scores, padded, at.dout, width, at.dwritten, width,
                                   c.has_future);
  if (s.delta) solve_lower_transposed<T, Bytes>(c.rows, s.value_dim, at.solve, padded, at.dwritten, width);
}

// dP = dout V'^T * D, and with the delta rule E = -strictly_lower(Z V'^T) * D: their sums over heads (E times beta),
// what of them decays between two tokens (at.segments), and dbeta.
template <class T, int Bytes>
void chunk_dscores(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, std::int64_t head,
                   const RecurrenceBuffers<T>& at) {
  using A = Vec<T, Bytes>;
  const std::int64_t padded = recurrence_padded(c.rows);
  const std::int64_t width = recurrence_padded(s.value_dim);
  transpose<T, Bytes>(c.rows, s.value_dim, at.written, width, nullptr, at.written_t, padded);
  lower_product<T, Bytes>(c.rows, s.value_dim, at.dout, width, at.written_t, at.dscores, padded);
  if (s.delta) lower_product<T, Bytes>(c.rows, s.value_dim, at.dwritten, width, at.written_t, at.dsolve, padded);
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const std::int64_t row = i * padded;
    RowSum<T, Bytes> dbeta;
    if (s.delta) at.dsolve[row + i] = T{};
    for_each_vector<T, Bytes>(padded, [&](std::int64_t x, int part, auto) {
      const std::int64_t j = row + x;
      const auto d = A::load(at.decay + j);
      const auto ds = masked<T, Bytes>(d, A::load(at.dscores + j));
      auto segment = masked<T, Bytes>(d, A::load(at.dscores + j) * A::load(at.qk + j));
      A::store(at.dscores_sum + j, A::load(at.dscores_sum + j) + ds);
      if (s.delta) {
        const auto e = -masked<T, Bytes>(d, A::load(at.dsolve + j));
        const auto of_beta = d == T{} ? typename A::V{} : e * A::load(at.kk + j);
        dbeta.part[part] += of_beta;
        segment += at.beta[i] * of_beta;
        A::store(at.dsolve_sum + j, A::load(at.dsolve_sum + j) + at.beta[i] * e);
      }
      A::store(at.segments + j, segment);
    });
    if (s.dbeta == nullptr) continue;
    const T of_value = dot<T, Bytes>(at.dwritten + i * width, at.values + i * width, s.value_dim);
    s.dbeta[(c.first + i) * s.gate_stride + head] = s.delta ? of_value + dbeta.total() : of_value;
  }
}

// dv = beta Z + skip dout, and dskip += <dout, v>.
template <class T, int Bytes>
void chunk_dvalues(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, std::int64_t head,
                   const RecurrenceBuffers<T>& at) {
  const std::int64_t width = recurrence_padded(s.value_dim);
  double dskip = 0;
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const std::int64_t from = (c.first + i) * s.stride + head * s.value_dim;
    const T* dout = s.dout + (c.first + i) * s.out_stride + head * s.value_dim;
    const T* z = at.dwritten + i * width;
    if (s.skip == nullptr) {
      for (std::int64_t x = 0; x < s.value_dim; ++x) s.dv[from + x] = at.beta[i] * z[x];
      continue;
    }
    dskip += static_cast<double>(dot<T, Bytes>(dout, s.v + from, s.value_dim));
    for (std::int64_t x = 0; x < s.value_dim; ++x) s.dv[from + x] = at.beta[i] * z[x] + s.skip[head] * dout[x];
  }
  if (s.skip != nullptr) s.dskip[head] += static_cast<T>(dskip);
}

// What the states before and after the chunk give to dq and dk, and its share of dg: at.inter_i. Scales at.dout by e^G,
// Z by -beta e^G and V' by e^{G_C - G}.
template <class T, int Bytes>
void chunk_dstates(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, const T* state, const T* dstate,
                   const RecurrenceBuffers<T>& at) {
  const std::int64_t width = recurrence_padded(s.value_dim);
  const std::int64_t keys = recurrence_padded(s.key_dim);
  if (c.has_past) {
    transpose<T, Bytes>(s.key_dim, s.value_dim, state, width, nullptr, at.state_t, keys);
    scale_rows<T, Bytes>(c.rows, s.value_dim, at.from_start, at.dout, width);
    padded_gemm<T, Bytes, false>(c.rows, s.key_dim, s.value_dim, {at.dout, width}, at.state_t, keys, at.dq_head, keys,
                                 false);
    for (std::int64_t i = 0; i < c.rows; ++i) {
      at.inter[i] = dot<T, Bytes>(at.q + i * keys, at.dq_head + i * keys, s.key_dim);
      for (std::int64_t x = 0; x < s.key_dim; ++x) at.dq[i * keys + x] += at.dq_head[i * keys + x];
    }
  } else {
    for (std::int64_t i = 0; i < c.rows; ++i) at.inter[i] = T{};
  }
  if (c.has_past && s.delta) {
    for (std::int64_t i = 0; i < c.rows; ++i) {
      const T factor = -at.beta[i] * at.from_start[i];
      for (std::int64_t x = 0; x < s.value_dim; ++x) at.dwritten[i * width + x] *= factor;
      at.inter[i] += dot<T, Bytes>(at.dwritten + i * width, at.read + i * width, s.value_dim);
    }
    padded_gemm<T, Bytes, false>(c.rows, s.key_dim, s.value_dim, {at.dwritten, width}, at.state_t, keys, at.dk, keys,
                                 true);
  }
  if (c.has_future) {
    scale_rows<T, Bytes>(c.rows, s.value_dim, at.to_end, at.written, width);
    transpose<T, Bytes>(s.key_dim, s.value_dim, dstate, width, nullptr, at.state_t, keys);
    padded_gemm<T, Bytes, false>(c.rows, s.key_dim, s.value_dim, {at.written, width}, at.state_t, keys, at.dk, keys,
                                 true);
  }
}

// dg_t = sum_{i >= t > j} segments_ij + sum_{i >= t} inter_i + sum_{j < t} later_j + e^{G_C} <S, dS>: sums of what
// crosses t and nothing else, so that small gradients are not differences of large ones.
template <class T, int Bytes>
void chunk_dg(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, std::int64_t head, const T* state, const T* dstate,
              const RecurrenceBuffers<T>& at) {
  using A = Vec<T, Bytes>;
  using L = Lanes<T, Bytes>;
  const std::int64_t padded = recurrence_padded(c.rows);
  const std::int64_t width = recurrence_padded(s.value_dim);
  T across{};
  if (c.has_past && c.has_future) {
    for (std::int64_t x = 0; x < s.key_dim; ++x) {
      across += dot<T, Bytes>(state + x * width, dstate + x * width, s.value_dim);
    }
    across *= at.from_start[c.rows - 1];
  }
  T before{};  // later_j becomes the sum over those before j
  for (std::int64_t j = 0; j < c.rows; ++j) {
    const T own = at.later[j];
    at.later[j] = before;
    before += own;
  }
  for (std::int64_t j = 0; j < padded; ++j) at.suffix[j] = T{};
  T after{};
  for (std::int64_t t = c.rows - 1; t >= 0; --t) {
    RowSum<T, Bytes> crossing;
    for_each_vector<T, Bytes>(t, [&](std::int64_t j, int part, auto lanes) {
      const auto sum = L::load(at.suffix + j, lanes) + L::load(at.segments + t * padded + j, lanes);
      L::store(at.suffix + j, sum, lanes);
      crossing.part[part % A::parts] += sum;
    });
    after += at.inter[t];
    s.dg[(c.first + t) * s.gate_stride + head] = crossing.total() + after + at.later[t] + across;
  }
}

// dS before the chunk: e^{G_C} dS + (e^G Q)^T dout - (beta e^G K)^T Z, on buffers that chunk_dstates scaled.
template <class T, int Bytes>
void chunk_dstate(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, T* dstate, const RecurrenceBuffers<T>& at) {
  const std::int64_t width = recurrence_padded(s.value_dim);
  const std::int64_t keys = recurrence_padded(s.key_dim);
  if (c.has_future) {
    copy_scaled<T, Bytes>(s.key_dim, s.value_dim, dstate, width, at.from_start[c.rows - 1], dstate, width);
  }
  padded_gemm<T, Bytes, true>(s.key_dim, s.value_dim, c.rows, {at.q, keys}, at.dout, width, dstate, width,
                              c.has_future);
  if (s.delta) {
    padded_gemm<T, Bytes, true>(s.key_dim, s.value_dim, c.rows, {at.k, keys}, at.dwritten, width, dstate, width, true);
  }
}

// dq += dP k and dk += dP^T q + (beta E + (beta E)^T) k, with the sums over heads.
template <class T, int Bytes>
void chunk_dkeys(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, const RecurrenceBuffers<T>& at) {
  const std::int64_t padded = recurrence_padded(c.rows);
  const std::int64_t keys = recurrence_padded(s.key_dim);
  lower_times<T, Bytes>(c.rows, s.key_dim, at.dscores_sum, padded, at.k, keys, at.dq, keys, true);
  lower_transposed_times<T, Bytes>(c.rows, s.key_dim, at.dscores_sum, padded, at.q, keys, at.dk, keys, true);
  if (s.delta) {
    lower_times<T, Bytes>(c.rows, s.key_dim, at.dsolve_sum, padded, at.k, keys, at.dk, keys, true);
    lower_transposed_times<T, Bytes>(c.rows, s.key_dim, at.dsolve_sum, padded, at.k, keys, at.dk, keys, true);
  }
  copy_scaled<T, Bytes>(c.rows, s.key_dim, at.dq, keys, T{1}, s.dq + c.first * s.stride, s.stride);
  copy_scaled<T, Bytes>(c.rows, s.key_dim, at.dk, keys, T{1}, s.dk + c.first * s.stride, s.stride);
}

template <class T, int Bytes>
void clear_sums(const RecurrenceGroup<T>& s, const RecurrenceChunk& c, const RecurrenceBuffers<T>& at) {
  const std::int64_t keys = c.rows * recurrence_padded(s.key_dim);
  const std::int64_t scores = c.rows * recurrence_padded(c.rows);
  for (std::int64_t i = 0; i < keys; ++i) at.dq[i] = T{};
  for (std::int64_t i = 0; i < keys; ++i) at.dk[i] = T{};
  for (std::int64_t i = 0; i < scores; ++i) at.dscores_sum[i] = T{};
  for (std::int64_t i = 0; s.delta && i < scores; ++i) at.dsolve_sum[i] = T{};
}

template <class T, int Bytes>
void recurrence_backward_group(const RecurrenceGroup<T>& s, const RecurrenceBuffers<T>& at) {
  const std::int64_t chunks = (s.length + s.chunk - 1) / s.chunk;
  const std::int64_t size = s.key_dim * recurrence_padded(s.value_dim);
  for (std::int64_t index = chunks - 1; index >= 0; --index) {
    const RecurrenceChunk c = chunk_at(s, index);
    chunk_keys<T, Bytes>(s, c, at);
    clear_sums<T, Bytes>(s, c, at);
    for (std::int64_t head = 0; head < s.heads; ++head) {
      const T* state = s.states + (head * chunks + index) * size;
      T* dstate = at.dstates + head * size;
      chunk_decay<T, Bytes>(s, c, head, at);
      chunk_scores<T, Bytes>(s, c, at);
      chunk_written<T, Bytes>(s, c, head, state, at);
      chunk_dwritten<T, Bytes>(s, c, head, dstate, at);
      chunk_dscores<T, Bytes>(s, c, head, at);
      chunk_dvalues<T, Bytes>(s, c, head, at);
      chunk_dstates<T, Bytes>(s, c, state, dstate, at);
      if (s.dg != nullptr) chunk_dg<T, Bytes>(s, c, head, state, dstate, at);
      if (c.has_past) chunk_dstate<T, Bytes>(s, c, dstate, at);
    }
    chunk_dkeys<T, Bytes>(s, c, at);
  }
}

}  // namespace hylas::kernels::cpu
