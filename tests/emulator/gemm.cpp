// Class Gemm (kernels/cuda/gemm.hpp) with plain loops, in place of cuBLASLt: sums over k in double, rounded once to the
// output's type, so that an entry's bits depend on its rows and columns alone.
#include "kernels/cuda/gemm.hpp"

#include <cuda_bf16.h>

#include <stdexcept>
#include <vector>

#include "kernels/cuda/bf16.hpp"
#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {

struct Gemm::Plans {};

namespace {

float read(const void* p, DType dtype, std::int64_t i) {
  return dtype == DType::bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i])
                              : static_cast<const float*>(p)[i];
}

void write(void* p, DType dtype, std::int64_t i, float x) {
  if (dtype == DType::bf16) {
    static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16(x);
  } else {
    static_cast<float*>(p)[i] = x;
  }
}

// op(matrix) as rows x columns floats.
std::vector<float> gather(const void* matrix, DType dtype, std::int64_t offset, std::int64_t ld, bool transposed,
                          std::int64_t rows, std::int64_t columns) {
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  auto out = values.begin();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      *out++ = read(matrix, dtype, offset + (transposed ? c * ld + r : r * ld + c));
    }
  }
  return values;
}

void multiply(const Product& p) {
  std::vector<double> row(static_cast<std::size_t>(p.n));
  for (std::int64_t batch = 0; batch < p.batch; ++batch) {
    const auto a = gather(p.a, p.in, batch * p.stride_a, p.lda, p.a_transposed, p.m, p.k);
    const auto b = gather(p.b, p.in, batch * p.stride_b, p.ldb, p.b_transposed, p.k, p.n);
    for (std::int64_t i = 0; i < p.m; ++i) {
      row.assign(row.size(), 0.0);
      for (std::int64_t k = 0; k < p.k; ++k) {
        const double x = static_cast<double>(a[static_cast<std::size_t>(i * p.k + k)]);
        const float* y = b.data() + k * p.n;
        for (std::size_t j = 0; j < row.size(); ++j) row[j] += x * static_cast<double>(y[j]);
      }
      for (std::int64_t j = 0; j < p.n; ++j) {
        const float before = p.c != nullptr ? read(p.c, p.out, batch * p.stride_c + i * p.ldc + j) : 0.0F;
        write(p.d, p.out, batch * p.stride_d + i * p.ldd + j,
              static_cast<float>(row[static_cast<std::size_t>(j)] + static_cast<double>(before)));
      }
    }
  }
}

}  // namespace

Gemm::Gemm(const Runtime& /*runtime*/) {}
Gemm::~Gemm() = default;

std::size_t Gemm::workspace_bytes() const {
  return 0;
}

void Gemm::run(Context& ctx, const Product& p) {
  if (ctx.planning || p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (p.in != DType::f32 && p.in != DType::bf16) throw std::invalid_argument("Gemm: a and b must be f32 or bf16");
  if (emulator::enqueue(stream_of(ctx), [p] { multiply(p); }) != cudaSuccess) throw CudaError("Gemm");
}

}  // namespace hylas::kernels::cuda
