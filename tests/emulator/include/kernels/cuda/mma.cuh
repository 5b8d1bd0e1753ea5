// Shadows kernels/cuda/mma.cuh in the emulated build: the same functions with the same contracts, without PTX.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "cuda_runtime.h"

namespace hylas::kernels::cuda {

inline std::uint32_t shared_address(const void* p) {
  return emulator::shared_offset(p);
}

inline void copy_async_16(void* shared, const void* global, bool full = true,
                          const emulator::Where where = emulator::Where::current()) {
  emulator::copy_issue(shared, global, 16, full ? 16 : 0, where);
}
inline void copy_commit() {
  emulator::copy_commit();
}
template <int pending>
inline void copy_wait() {
  emulator::copy_wait(pending);
}

inline void load_matrix_x4(std::uint32_t (&r)[4], const void* shared,
                           const emulator::Where where = emulator::Where::current()) {
  emulator::load_matrix(r, 4, shared, false, where);
}
inline void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* shared,
                                      const emulator::Where where = emulator::Where::current()) {
  emulator::load_matrix(r, 4, shared, true, where);
}

inline void mma_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                        const emulator::Where where = emulator::Where::current()) {
  emulator::mma_16x8x16(c, a, b0, b1, where);
}

inline std::uint32_t round_to_tf32(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  return x - x == 0 ? (bits + 0x1000U) & 0xffffe000U : bits;
}
inline void mma_16x8x8_tf32(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                            const emulator::Where where = emulator::Where::current()) {
  emulator::mma_16x8x8_tf32(c, a, b0, b1, where);
}

inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &pair, sizeof bits);
  return bits;
}
inline float2 unpack_bf16(std::uint32_t pair) {
  return float2{__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000U)};
}

}  // namespace hylas::kernels::cuda
