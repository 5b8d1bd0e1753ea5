// Matrix products through cuBLASLt (see gemm.hpp).
#include "kernels/cuda/gemm.hpp"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include "kernels/cuda/launch.cuh"

namespace hylas::kernels::cuda {
namespace {

constexpr std::size_t kWorkspace = std::size_t{32} << 20;  // what NVIDIA advises for Hopper

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw CudaError(std::string(what) + ": " + cublasLtGetStatusString(status));
}

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// Matrices are row-major here and column-major there, so the library computes d^T = op(b)^T op(a)^T.
struct Layout {
  cublasLtMatrixLayout_t handle = nullptr;
  Layout(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t ld, std::int64_t batch,
         std::int64_t stride) {
    check(cublasLtMatrixLayoutCreate(&handle, type_of(dtype), static_cast<std::uint64_t>(columns),
                                     static_cast<std::uint64_t>(rows), ld),
          "cublasLtMatrixLayoutCreate");
    const auto count = static_cast<std::int32_t>(batch);
    check(cublasLtMatrixLayoutSetAttribute(handle, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
          "CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT");
    check(cublasLtMatrixLayoutSetAttribute(handle, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
          "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET");
  }
  ~Layout() {
    if (handle != nullptr) (void)cublasLtMatrixLayoutDestroy(handle);
  }
  Layout(Layout&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  Layout& operator=(Layout&&) = delete;
};

struct Operation {
  cublasLtMatmulDesc_t handle = nullptr;
  explicit Operation(const Product& p) {
    check(cublasLtMatmulDescCreate(&handle, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t first = p.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = p.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublasLtMatmulDescSetAttribute(handle, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), "TRANSA");
    check(cublasLtMatmulDescSetAttribute(handle, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), "TRANSB");
  }
  ~Operation() {
    if (handle != nullptr) (void)cublasLtMatmulDescDestroy(handle);
  }
  Operation(Operation&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  Operation& operator=(Operation&&) = delete;
};

struct Layouts {
  Layout a, b, c, d;
  Layouts(const Product& p, std::int64_t batch)
      : a(p.in, p.a_transposed ? p.k : p.m, p.a_transposed ? p.m : p.k, p.lda, batch, p.stride_a),
        b(p.in, p.b_transposed ? p.n : p.k, p.b_transposed ? p.k : p.n, p.ldb, batch, p.stride_b),
        c(p.out, p.m, p.n, p.c != nullptr ? p.ldc : p.ldd, batch, p.c != nullptr ? p.stride_c : p.stride_d),
        d(p.out, p.m, p.n, p.ldd, batch, p.stride_d) {}
};

struct Plan {
  Operation operation;
  Layouts layouts;
  cublasLtMatmulAlgo_t algorithm{};
};

// Bytes that every row of a matrix starts at a multiple of, 16 at most.
std::uint32_t alignment_of(std::int64_t ld, DType dtype) {
  std::uint32_t alignment = 16;
  while (alignment > size_of(dtype) && ld * size_of(dtype) % alignment != 0) alignment /= 2;
  return alignment;
}

}  // namespace

struct Gemm::Plans {
  using Key = std::array<std::int64_t, 16>;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  int device = 0;
  std::map<Key, Plan> plans;

  explicit Plans(int index) : workspace(device_allocate(kWorkspace, index)), device(index) {
    check(cublasLtCreate(&handle), "cublasLtCreate");
  }
  ~Plans() {
    plans.clear();
    if (handle != nullptr) (void)cublasLtDestroy(handle);
    device_free(workspace, device);
  }
  Plans(const Plans&) = delete;
  Plans& operator=(const Plans&) = delete;

  Plan& plan(const Product& p) {
    const Key key{p.m,
                  p.n,
                  p.k,
                  p.batch,
                  p.lda,
                  p.stride_a,
                  p.ldb,
                  p.stride_b,
                  p.c != nullptr ? p.ldc : -1,
                  p.stride_c,
                  p.ldd,
                  p.stride_d,
                  static_cast<std::int64_t>(p.a_transposed) + 2 * static_cast<std::int64_t>(p.b_transposed),
                  static_cast<std::int64_t>(p.in),
                  static_cast<std::int64_t>(p.out),
                  p.pin_batch};
    const auto found = plans.find(key);
    if (found != plans.end()) return found->second;
    Plan plan{Operation(p), Layouts(p, p.batch)};
    plan.algorithm = choose(p, plan.operation);
    return plans.emplace(key, std::move(plan)).first->second;
  }

  cublasLtMatmulAlgo_t choose(const Product& p, const Operation& operation) {
    // Batch strides as if the entries lay end to end: what the algorithm is pinned to must not know about trials.
    Product pinned = p;
    pinned.stride_a = p.m * p.k, pinned.stride_b = p.k * p.n, pinned.stride_c = pinned.stride_d = p.m * p.n;
    const Layouts layouts(pinned, p.pin_batch);
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
            "cublasLtMatmulPreferenceSetAttribute");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.ldb, p.in));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.lda, p.in));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.c != nullptr ? p.ldc : p.ldd, p.out));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.ldd, p.out));
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, operation.handle, layouts.b.handle, layouts.a.handle, layouts.c.handle,
                                       layouts.d.handle, preference, 1, &result, &found);
    (void)cublasLtMatmulPreferenceDestroy(preference);
    if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
      throw CudaError("cuBLASLt has no algorithm for a product of " + std::to_string(p.m) + " x " +
                      std::to_string(p.n) + " x " + std::to_string(p.k));
    }
    return result.algo;
  }
};

Gemm::Gemm(const Runtime& runtime) : plans_(std::make_unique<Plans>(runtime.index())) {}
Gemm::~Gemm() = default;

std::size_t Gemm::workspace_bytes() const {
  return kWorkspace;
}

void Gemm::run(Context& ctx, const Product& p) {
  if (ctx.planning || p.m == 0 || p.n == 0 || p.batch == 0) return;
  Plan& plan = plans_->plan(p);
  const float one = 1, beta = p.c != nullptr ? 1 : 0;
  check(cublasLtMatmul(plans_->handle, plan.operation.handle, &one, p.b, plan.layouts.b.handle, p.a,
                       plan.layouts.a.handle, &beta, p.c != nullptr ? p.c : p.d, plan.layouts.c.handle, p.d,
                       plan.layouts.d.handle, &plan.algorithm, plans_->workspace, kWorkspace, stream_of(ctx)),
        "cublasLtMatmul");
}

}  // namespace hylas::kernels::cuda
