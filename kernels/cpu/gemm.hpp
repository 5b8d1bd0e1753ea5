// gemm: C = A B or C += A B for the small matrices of a proxy, on Vec.
//
// Every element of C is one sum over k in ascending order, begun at 0 or at C. So a row of C does not depend on how
// many rows there are or where they lie, which is what makes batch chunks and trials reproducible; Eigen's product,
// which this replaces, cuts its sums by the size of the matrices and (for very small ones) by the alignment of
// pointers.
//
// B is packed in panels two vectors wide; a panel stays in L1 while the rows of A pass over it. A is read where it
// lies, one broadcast an element.
#pragma once

#include "kernels/cpu/transpose.hpp"

namespace hylas::kernels::cpu {

template <class T>
struct Product {
  std::int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  std::int64_t a_stride = 0;
  bool a_transposed = false;  // A(i, k) is a[k * a_stride + i], else a[i * a_stride + k]
  const T* b = nullptr;
  std::int64_t b_stride = 0;
  bool b_transposed = false;  // B(k, j) is b[j * b_stride + k], else b[k * b_stride + j]
  T* c = nullptr;
  std::int64_t c_stride = 0;
  bool add = false;  // C += A B
};

constexpr std::int64_t gemm_depth = 256;    // of a packed panel: 32 KiB of floats in AVX-512
constexpr std::int64_t gemm_columns = 256;  // of a packed slab of B
constexpr std::int64_t gemm_group = 48;     // rows of a transposed A packed at a time
constexpr std::int64_t gemm_scratch = gemm_depth * (gemm_columns + gemm_group);  // elements

// Operand A of a panel: where it starts and its stride; Transposed as in Product.
template <class T>
struct Operand {
  const T* data = nullptr;
  std::int64_t stride = 0;
};

// One tile: Rows x (Vectors vectors), all of it inside C.
template <class T, int Bytes, int Rows, int Vectors, bool Transposed>
void tile(std::int64_t depth, Operand<T> a, const T* b, std::int64_t b_stride, T* c, std::int64_t c_stride, bool add) {
  using A = Vec<T, Bytes>;
  typename A::V sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      __builtin_prefetch(c + i * c_stride + j * A::lanes, 1);
      sum[i][j] = add ? A::load(c + i * c_stride + j * A::lanes) : typename A::V{};
    }
  }
  // Rows in groups of three: an address is then a base plus 0, 1 or 2 strides, which the machine adds for free.
  constexpr int groups = (Rows + 2) / 3;
  const T* base[groups];
#pragma GCC unroll 16
  for (int g = 0; g < groups; ++g) base[g] = Transposed ? a.data + 3 * g : a.data + 3 * g * a.stride;
  for (std::int64_t k = 0; k < depth; ++k) {
    typename A::V right[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) right[j] = A::load(b + j * A::lanes);
    b += b_stride;
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const T left = Transposed ? base[0][i] : base[i / 3][(i % 3) * a.stride];
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) sum[i][j] += left * right[j];
    }
#pragma GCC unroll 16
    for (int g = 0; g < groups; ++g) base[g] += Transposed ? a.stride : 1;
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) A::store(c + i * c_stride + j * A::lanes, sum[i][j]);
  }
}

// The tile with that many rows, at most Rows.
template <class T, int Bytes, int Rows, int Vectors, bool Transposed>
[[gnu::always_inline]] inline void tile_of(std::int64_t rows, std::int64_t depth, Operand<T> a, const T* b,
                                           std::int64_t b_stride, T* c, std::int64_t c_stride, bool add) {
  if (rows == Rows) return tile<T, Bytes, Rows, Vectors, Transposed>(depth, a, b, b_stride, c, c_stride, add);
  if constexpr (Rows > 1) {
    tile_of<T, Bytes, Rows - 1, Vectors, Transposed>(rows, depth, a, b, b_stride, c, c_stride, add);
  }
}

// C[m, columns] (+)= A[m, depth] B[depth, columns], columns <= Vectors vectors; B may be read up to the whole vectors.
// The rows are shared out evenly between tiles: a tile of one or two rows would take as long as one of eight.
template <class T, int Bytes, int Vectors, bool Transposed>
void panel(std::int64_t m, std::int64_t depth, Operand<T> a, const T* b, std::int64_t b_stride, T* c,
           std::int64_t c_stride, bool add, int columns) {
  constexpr int most = Bytes == 64 || Vectors == 1 ? 12 : 6;
  constexpr int width = Vectors * Vec<T, Bytes>::lanes;
  std::int64_t tiles = (m + most - 1) / most;
  for (std::int64_t i = 0; i < m; --tiles) {
    const std::int64_t rows = (m - i + tiles - 1) / tiles;
    const Operand<T> left{Transposed ? a.data + i : a.data + i * a.stride, a.stride};
    T* to = c + i * c_stride;
    if (columns == width) {
      tile_of<T, Bytes, most, Vectors, Transposed>(rows, depth, left, b, b_stride, to, c_stride, add);
    } else {  // by way of a whole tile
      T whole[most * width];
      for (int e = 0; e < rows * width; ++e) {
        whole[e] = add && e % width < columns ? to[e / width * c_stride + e % width] : T{};
      }
      tile_of<T, Bytes, most, Vectors, Transposed>(rows, depth, left, b, b_stride, whole, width, add);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (int j = 0; j < columns; ++j) to[r * c_stride + j] = whole[r * width + j];
      }
    }
    i += rows;
  }
}

// C (+)= A B where the rows of B may be read up to whole vectors: no packing. For the blocks of attention.
template <class T, int Bytes, bool Transposed>
void padded_gemm(std::int64_t m, std::int64_t n, std::int64_t depth, Operand<T> a, const T* b, std::int64_t b_stride,
                 T* c, std::int64_t c_stride, bool add) {
  constexpr std::int64_t lanes = Vec<T, Bytes>::lanes;
  std::int64_t j = 0;
  for (; n - j > lanes; j += 2 * lanes) {
    const int columns = static_cast<int>(n - j < 2 * lanes ? n - j : 2 * lanes);
    panel<T, Bytes, 2, Transposed>(m, depth, a, b + j, b_stride, c + j, c_stride, add, columns);
  }
  if (j < n) {
    panel<T, Bytes, 1, Transposed>(m, depth, a, b + j, b_stride, c + j, c_stride, add, static_cast<int>(n - j));
  }
}

// The panel of B at (k, j), `depth` deep and `columns` <= width wide, as rows of `width`, zero-filled.
template <class T, int Bytes>
void pack_panel(const Product<T>& p, std::int64_t k, std::int64_t j, std::int64_t depth, int columns, int width,
                T* to) {
  using A = Vec<T, Bytes>;
  if (columns < width) {
    for (std::int64_t i = 0; i < depth * width; ++i) to[i] = T{};
  }
  if (p.b_transposed) {
    transpose<T, Bytes>(columns, depth, p.b + j * p.b_stride + k, p.b_stride, nullptr, to, width);
    return;
  }
  const T* from = p.b + k * p.b_stride + j;
  for (std::int64_t d = 0; d < depth; ++d) {
    const T* row = from + d * p.b_stride;
    int c = 0;
    for (; c + A::lanes <= columns; c += A::lanes) A::store(to + d * width + c, A::load(row + c));
    for (; c < columns; ++c) to[d * width + c] = row[c];
  }
}

// All rows of A at columns [k, k + depth) times the packed panel at column j.
template <class T, int Bytes>
void multiply_panel(std::int64_t m, std::int64_t depth, Operand<T> a, bool transposed, const T* b, int width, T* c,
                    std::int64_t c_stride, bool add, int columns) {
  if (width > Vec<T, Bytes>::lanes) {
    transposed ? panel<T, Bytes, 2, true>(m, depth, a, b, width, c, c_stride, add, columns)
               : panel<T, Bytes, 2, false>(m, depth, a, b, width, c, c_stride, add, columns);
  } else {
    transposed ? panel<T, Bytes, 1, true>(m, depth, a, b, width, c, c_stride, add, columns)
               : panel<T, Bytes, 1, false>(m, depth, a, b, width, c, c_stride, add, columns);
  }
}

// A slab of B, [k, k + depth) x [j, j + columns), is packed; A as it lies, or, where it is transposed, packed in groups
// of rows: its own rows may lie pages apart.
template <class T, int Bytes>
void multiply_slab(const Product<T>& p, std::int64_t k, std::int64_t depth, std::int64_t j, std::int64_t columns,
                   T* scratch) {
  constexpr int wide = 2 * Vec<T, Bytes>::lanes;
  T* const packed_rows = scratch;
  T* const panels = scratch + gemm_depth * gemm_group;
  const bool add = p.add || k > 0;
  const auto width_at = [columns](std::int64_t at) { return columns - at > wide / 2 ? wide : wide / 2; };
  const auto columns_at = [columns](std::int64_t at) {
    return static_cast<int>(columns - at < wide ? columns - at : wide);
  };
  for (std::int64_t at = 0; at < columns; at += wide) {
    pack_panel<T, Bytes>(p, k, j + at, depth, columns_at(at), width_at(at), panels + at * depth);
  }
  const std::int64_t group = p.a_transposed ? gemm_group : p.m;
  for (std::int64_t i = 0; i < p.m; i += group) {
    const std::int64_t rows = p.m - i < group ? p.m - i : group;
    Operand<T> a{p.a + i * p.a_stride + k, p.a_stride};
    if (p.a_transposed) {
      for (std::int64_t d = 0; d < depth; ++d) {
        const T* from = p.a + (k + d) * p.a_stride + i;
        for_each_vector<T, Bytes>(rows, [&](std::int64_t r, int, auto s) {
          using L = Lanes<T, Bytes>;
          L::store(packed_rows + d * gemm_group + r, L::load(from + r, s), s);
        });
      }
      a = {packed_rows, gemm_group};
    }
    for (std::int64_t at = 0; at < columns; at += wide) {
      multiply_panel<T, Bytes>(rows, depth, a, p.a_transposed, panels + at * depth, width_at(at),
                               p.c + i * p.c_stride + j + at, p.c_stride, add, columns_at(at));
    }
  }
}

// scratch: gemm_scratch elements, 64-byte aligned.
template <class T, int Bytes>
void gemm(const Product<T>& p, T* scratch) {
  if (p.k == 0 && !p.add) {
    for (std::int64_t i = 0; i < p.m; ++i) {
      for (std::int64_t j = 0; j < p.n; ++j) p.c[i * p.c_stride + j] = T{};
    }
  }
  for (std::int64_t k = 0; k < p.k; k += gemm_depth) {
    const std::int64_t depth = p.k - k < gemm_depth ? p.k - k : gemm_depth;
    for (std::int64_t j = 0; j < p.n; j += gemm_columns) {
      multiply_slab<T, Bytes>(p, k, depth, j, p.n - j < gemm_columns ? p.n - j : gemm_columns, scratch);
    }
  }
}

}  // namespace hylas::kernels::cpu
