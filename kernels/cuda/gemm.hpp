// Gemm: matrix products on a GPU, cuBLASLt underneath, plans cached.
//
//   d[b] (m x n, row-major) = (c given: c[b] +) op(a[b]) op(b[b])     for every b in [0, batch)
//   a is m x k, or k x m where a_transposed; b is k x n, or n x k where b_transposed; sums in fp32 (true fp32 for f32)
//
// in: f32 or bf16 (a and b); out: f32 or bf16 (c and d). The algorithm is the heuristic's first for (m, n, k, layouts,
// dtypes, pin_batch), without split sums, so an entry's bits do not depend on `batch`, its neighbours or addresses.
// Errors: CudaError. While ctx.planning nothing runs. Thread-safety: as its Runtime.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/context.hpp"

namespace hylas::kernels::cuda {

struct Product {
  std::int64_t m = 0, n = 0, k = 0, batch = 1;
  const void* a = nullptr;
  std::int64_t lda = 0, stride_a = 0;  // elements; the stride from one batch entry to the next
  bool a_transposed = false;
  const void* b = nullptr;
  std::int64_t ldb = 0, stride_b = 0;
  bool b_transposed = false;
  const void* c = nullptr;  // added where given; may be d
  std::int64_t ldc = 0, stride_c = 0;
  void* d = nullptr;
  std::int64_t ldd = 0, stride_d = 0;
  DType in = DType::bf16, out = DType::bf16;
  std::int64_t pin_batch = 1;  // the batch the algorithm is chosen for: a function of the shape, never of the trials
};

class Gemm {
 public:
  explicit Gemm(const Runtime& runtime);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;
  void run(Context& ctx, const Product& product);
  [[nodiscard]] std::size_t workspace_bytes() const;

 private:
  struct Plans;
  std::unique_ptr<Plans> plans_;
};

}  // namespace hylas::kernels::cuda
