// The CPU emulator of CUDA kernels: a kernel's threads are fibers of the calling thread, one block after another.
//
// A fiber runs until it must wait for others (__syncthreads, a warp collective) or returns; then another one runs. The
// last thread to arrive at a collective computes it for all. What a GPU would leave undefined is made visible: shared
// memory starts as NaN, asynchronous copies take effect only when they are waited for, a barrier that some threads
// never reach throws std::runtime_error with the place where every thread waits.
//
// Order: environment variable EMULATOR_ORDER (or set_order): "ascending" (the default), "descending", or a number, the
// seed of a shuffled order. It orders the blocks of a grid, the warps of a block and the lanes of a warp.
//
// Thread-safety: every host thread has a machine of its own; device memory is shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "vector_types.h"

namespace hylas::emulator {

using Where = std::source_location;

inline constexpr unsigned warp_size = 32;
inline constexpr std::size_t max_shared_bytes = 227 * 1024;  // a block's, as on sm_90

struct Order {
  enum class Kind { ascending, descending, shuffled } kind = Kind::ascending;
  std::uint64_t seed = 0;
};
void set_order(Order order);
[[nodiscard]] Order order();

// Runs `kernel` once for every thread of the grid. Throws std::runtime_error for a block that cannot finish or a rule
// of the machine that is broken; the message says where.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& kernel);

// ---- what the shims of device functions are made of; called from kernels only

// A collective of the lanes in `mask`: the last lane to arrive calls finish(calls, mask), which sees the calls of all
// of them, indexed by lane (unset for the others), and writes the results into them.
struct WarpCall {
  using Finish = void (*)(WarpCall* const* calls, std::uint32_t mask);
  Finish finish = nullptr;
  std::uint32_t mask = 0;
  const char* name = "";
  Where where;
};
void meet_warp(WarpCall& call);

enum class Vote { none, count, all, any };
// All threads of the block; returns the outcome of the vote.
int meet_block(Vote vote, bool predicate, const char* name, const Where& where);
// `threads` threads of the block (a multiple of the warp size) that name the same barrier, 1..15.
void meet_named(int barrier, int threads, const Where& where);

[[nodiscard]] unsigned lane();
[[nodiscard]] std::uint32_t living_lanes();  // of this warp: those that have not returned

// cp.async of 16 bytes: the destination becomes NaN now and gets its values in copy_wait.
void copy_issue(void* shared, const void* global, unsigned bytes, unsigned filled, const Where& where);
void copy_commit();
void copy_wait(int pending);

// ldmatrix: `count` (1, 2 or 4) 8x8 matrices of 16 bits; row i % 8 of matrix i / 8 starts where lane i says.
void load_matrix(std::uint32_t* registers, int count, const void* row, bool transposed, const Where& where);
// mma m16n8k16, row.col, bf16 products, fp32 sums (exact in double before the one addition to c).
void mma_16x8x16(float* c, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1, const Where& where);
// mma m16n8k8, row.col, tf32 products (the operands' lower 13 bits are not read), sums as above.
void mma_16x8x8_tf32(float* c, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1, const Where& where);

// Ends the launch: run_grid throws the message together with block and thread.
[[noreturn]] void fail(const std::string& message);

// Bytes of the block's shared memory from its start to `p`.
[[nodiscard]] std::uint32_t shared_offset(const void* p);

// Bits of the last `__shared__` poisoning: what every byte of uninitialised memory holds.
inline constexpr int poison = 0xff;

// True in a kernel, false in host code.
[[nodiscard]] bool in_kernel();

// Throws when somebody wrote just before or after a device allocation; run after every launch.
void check_fences();

}  // namespace hylas::emulator
