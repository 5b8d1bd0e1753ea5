// What the Hopper kernels of the feed-forward branch share. One block a multiprocessor takes tiles of 128 rows of a
// trial, one after another; each of its two consumer warpgroups owns 64 of the rows, and a producer thread streams the
// weights past both through a ring of shared memory (panels and fragments: kernels/cuda/hopper.cuh).
#pragma once

#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/hopper.cuh"

namespace hylas::kernels::cuda::fused_tma {

inline constexpr int rows_of_tile = 128, rows_of_group = 64;
inline constexpr int threads = 384;  // the producer's warpgroup, then two of consumers
inline constexpr int stage_bytes = 32768;
inline constexpr int chunk = 64;  // hidden columns between two tiles of `down`

// Host side: whether the kernels can take these widths and this GPU, and tensors at these addresses.
[[nodiscard]] bool applies(const Context& ctx, std::int64_t d, std::int64_t f);
[[nodiscard]] bool addressable(const Tensor& t, DType dtype);
// The map of an activation [P, rows, columns], boxes of 64 columns x 64 rows; of gate_up, boxes of 64 columns x
// `rows` rows of gate and then of up, coordinates (column, row, 0, p); of down, boxes of 64 columns x d rows.
[[nodiscard]] CUtensorMap rows_map(const Context& ctx, const Tensor& t);
[[nodiscard]] CUtensorMap gate_up_map(const Context& ctx, const Tensor& t, int rows);
[[nodiscard]] CUtensorMap down_map(const Context& ctx, const Tensor& t);

// The tiles of a call, trial after trial; block b takes items b, b + gridDim.x, ...
struct Items {
  int tiles = 0, trials = 0;  // tiles a trial
  int rows = 0, chunks = 0;   // rows a trial, f / chunk
  [[nodiscard]] __host__ __device__ int count() const { return tiles * trials; }
};

// The ring of weight tiles as a producer or consumer sees it.
template <int stages>
struct Ring {
  std::uint32_t tiles, barriers;  // barriers: full of each stage, then empty of each
  int stage = 0, phase = 0;
  __device__ __forceinline__ std::uint32_t tile() const { return tiles + stage * stage_bytes; }
  __device__ __forceinline__ std::uint32_t full() const { return barriers + stage * 8; }
  __device__ __forceinline__ std::uint32_t empty() const { return barriers + (stages + stage) * 8; }
  __device__ __forceinline__ void next() {
    if (++stage == stages) {
      stage = 0;
      phase ^= 1;
    }
  }
  // Consumer: the next tile, once it is there.
  __device__ __forceinline__ std::uint32_t take() {
    hopper::barrier_wait(full(), phase);
    const std::uint32_t at = tile();
    next();
    return at;
  }
  // Consumer: this warp no longer reads the oldest tile it has; on a Ring of its own.
  __device__ __forceinline__ void release() {
    if (threadIdx.x % 32 == 0) hopper::barrier_arrive(empty());
    next();
  }
  // Producer: waits for room and announces `bytes`.
  __device__ __forceinline__ void make_room(int bytes) const {
    hopper::barrier_wait(empty(), phase ^ 1);
    hopper::barrier_arrive_expect(full(), bytes);
  }
};
// One thread; 4 warps of each consumer warpgroup release a tile.
template <int stages>
__device__ __forceinline__ void init_ring(const Ring<stages>& ring) {
  for (int s = 0; s < stages; ++s) {
    hopper::barrier_init(ring.barriers + s * 8, 1);
    hopper::barrier_init(ring.barriers + (stages + s) * 8, 8);
  }
}

// The same value; what is computed from it is computed here and not kept in registers across a loop.
template <class T>
__device__ __forceinline__ T again(T v) {
  asm volatile("" : "+r"(v));
  return v;
}

// Asks for `bytes` (a multiple of 16) to be brought to the L2 cache.
__device__ __forceinline__ void prefetch_bytes(const void* global, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
}

// The turns of the two warpgroups in starting products: while one computes, the other's products run.
__device__ __forceinline__ void take_turn(int group) {
  hopper::named_sync(1 + group, 256);
}
__device__ __forceinline__ void pass_turn(int group) {
  hopper::named_arrive(2 - group, 256);
}
// All threads of a warpgroup.
__device__ __forceinline__ void group_sync(int group) {
  hopper::named_sync(3 + group, 128);
}

// Rows of an activation on the way through registers to a tile of panels [128, 64]: pieces of 16 bytes, 8 a thread, are
// a batch; the warpgroup's 64 rows are d / 128 batches.
template <int d>
struct RowBatch {
  static constexpr int pieces = d / 8;
  static constexpr int count = 8;
  static constexpr int rows = count * 128 / pieces;
  uint4 v[count];
  // first_row: of the batch.
  __device__ __forceinline__ void load(const fused::Bf16* x, int first_row, int all_rows) {
    const int thread = again(static_cast<int>(threadIdx.x) % 128);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int row = first_row + (i * 128 + thread) / pieces;
      v[i] = make_uint4(0, 0, 0, 0);
      if (row < all_rows) {
        v[i] = *reinterpret_cast<const uint4*>(x + static_cast<std::int64_t>(row) * d + thread % pieces * 8);
      }
    }
  }
  // RMSNorm to a tile, whose row 0 is the batch's; inv_rms only if not null.
  __device__ __forceinline__ void normalise(unsigned char* tile, const float (&weight)[8], float eps, float* inv_rms) {
    const int thread = again(static_cast<int>(threadIdx.x) % 128);
    const int piece = thread % pieces;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int row = (i * 128 + thread) / pieces;
      const float inv = fused::normalise<d>(v[i], weight, eps);
      *reinterpret_cast<uint4*>(tile + piece / 8 * (rows_of_tile * 128) + row * 128 + ((piece ^ row) % 8) * 16) = v[i];
      if (inv_rms != nullptr && piece == 0) inv_rms[row] = inv;
    }
  }
};
// RMSNorm of the warpgroup's rows to its rows of a tile; `first` is their first batch.
template <int d>
__device__ __forceinline__ void normalise_group(RowBatch<d>& first, unsigned char* tile, const fused::Bf16* x,
                                                int first_row, int all_rows, const float* norm_weight, float eps,
                                                float* inv_rms) {
  float weight[8];
  fused::load_norm_weight<d>(weight, norm_weight);
  if constexpr (d == 256) {
    RowBatch<d> second;
    second.load(x, first_row + second.rows, all_rows);
    first.normalise(tile, weight, eps, inv_rms);
    second.normalise(tile + second.rows * 128, weight, eps, inv_rms == nullptr ? nullptr : inv_rms + second.rows);
  } else {
    first.normalise(tile, weight, eps, inv_rms);
  }
}

// Where columns 8 j + 2 (lane % 4), + 1 of `row` (of the warpgroup) lie in its rows of a tile.
__device__ __forceinline__ int pair_offset(int row, int j) {
  return j / 8 * (rows_of_tile * 128) + row * 128 + ((j ^ row) % 8) * 16 + static_cast<int>(threadIdx.x) % 4 * 4;
}

// The warpgroup's 64 rows of an activation, all d columns, by one thread: to and from its rows of a tile.
template <int d>
__device__ __forceinline__ void load_rows(std::uint32_t tile, const CUtensorMap* map, std::uint32_t barrier, int row,
                                          int trial) {
  hopper::barrier_arrive_expect(barrier, rows_of_group * d * 2);
#pragma unroll
  for (int p = 0; p < d / 64; ++p) {
    hopper::load_box(tile + p * (rows_of_tile * 128), map, barrier, p * 64, row, 0, trial);
  }
}
// Writes nothing outside the tensor.
__device__ __forceinline__ void store_panel(const CUtensorMap* map, std::uint32_t shared, int column, int row,
                                            int trial) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
               "r"(shared), "r"(column), "r"(row), "r"(0), "r"(trial)
               : "memory");
}
template <int d>
__device__ __forceinline__ void store_rows(const CUtensorMap* map, std::uint32_t tile, int row, int trial) {
#pragma unroll
  for (int p = 0; p < d / 64; ++p) store_panel(map, tile + p * (rows_of_tile * 128), p * 64, row, trial);
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until this thread's stores have read their shared memory.
__device__ __forceinline__ void wait_stored() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

// d = A B, m64n64k16, A in shared memory, k-major.
template <bool b_n_major>
__device__ __forceinline__ void wgmma_ss_first(float (&d)[32], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, %35;\n}\n"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7]), "=f"(d[8]),
        "=f"(d[9]), "=f"(d[10]), "=f"(d[11]), "=f"(d[12]), "=f"(d[13]), "=f"(d[14]), "=f"(d[15]), "=f"(d[16]),
        "=f"(d[17]), "=f"(d[18]), "=f"(d[19]), "=f"(d[20]), "=f"(d[21]), "=f"(d[22]), "=f"(d[23]), "=f"(d[24]),
        "=f"(d[25]), "=f"(d[26]), "=f"(d[27]), "=f"(d[28]), "=f"(d[29]), "=f"(d[30]), "=f"(d[31])
      : "l"(a), "l"(b), "r"(0), "n"(b_n_major ? 1 : 0));
}

// d += A B, m64n64k16, A in shared memory, k-major.
template <bool b_n_major>
__device__ __forceinline__ void wgmma_ss(float (&d)[32], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, %35;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "l"(a), "l"(b), "r"(1), "n"(b_n_major ? 1 : 0));
}

// d = A B, m64n128k16, A in shared memory, k-major.
template <bool b_n_major>
__device__ __forceinline__ void wgmma_ss_first(float (&d)[64], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, %67;\n}\n"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7]), "=f"(d[8]),
        "=f"(d[9]), "=f"(d[10]), "=f"(d[11]), "=f"(d[12]), "=f"(d[13]), "=f"(d[14]), "=f"(d[15]), "=f"(d[16]),
        "=f"(d[17]), "=f"(d[18]), "=f"(d[19]), "=f"(d[20]), "=f"(d[21]), "=f"(d[22]), "=f"(d[23]), "=f"(d[24]),
        "=f"(d[25]), "=f"(d[26]), "=f"(d[27]), "=f"(d[28]), "=f"(d[29]), "=f"(d[30]), "=f"(d[31]), "=f"(d[32]),
        "=f"(d[33]), "=f"(d[34]), "=f"(d[35]), "=f"(d[36]), "=f"(d[37]), "=f"(d[38]), "=f"(d[39]), "=f"(d[40]),
        "=f"(d[41]), "=f"(d[42]), "=f"(d[43]), "=f"(d[44]), "=f"(d[45]), "=f"(d[46]), "=f"(d[47]), "=f"(d[48]),
        "=f"(d[49]), "=f"(d[50]), "=f"(d[51]), "=f"(d[52]), "=f"(d[53]), "=f"(d[54]), "=f"(d[55]), "=f"(d[56]),
        "=f"(d[57]), "=f"(d[58]), "=f"(d[59]), "=f"(d[60]), "=f"(d[61]), "=f"(d[62]), "=f"(d[63])
      : "l"(a), "l"(b), "r"(0), "n"(b_n_major ? 1 : 0));
}

// d += A B, m64n128k16, A in shared memory, k-major.
template <bool b_n_major>
__device__ __forceinline__ void wgmma_ss(float (&d)[64], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, %67;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a), "l"(b), "r"(1), "n"(b_n_major ? 1 : 0));
}

// d += A B, m64n128k16, A in registers.
template <bool b_n_major>
__device__ __forceinline__ void wgmma_rs(float (&d)[64], const std::uint32_t* a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "n"(b_n_major ? 1 : 0));
}

// d += A B, m64n256k16, A in registers.
template <bool b_n_major>
__device__ __forceinline__ void wgmma_rs(float (&d)[128], const std::uint32_t* a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, {%128, %129, %130, %131}, %132, p, 1, 1, %134;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), "+f"(d[64]),
        "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), "+f"(d[72]),
        "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), "+f"(d[80]),
        "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]),
        "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]),
        "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]),
        "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), "+f"(d[112]),
        "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]),
        "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "n"(b_n_major ? 1 : 0));
}

}  // namespace hylas::kernels::cuda::fused_tma
