// ldmatrix and mma: the last lane of a warp to arrive computes for all 32. Fragments as in the PTX manual (see
// kernels/cuda/mma.cuh).
#include <cstring>

#include "cuda_runtime.h"
#include "tests/emulator/emulator.hpp"

namespace hylas::emulator {

namespace {

constexpr std::uint32_t all_lanes = 0xffffffffU;

struct LoadMatrix : WarpCall {
  const unsigned char* row = nullptr;
  std::uint32_t* registers = nullptr;
  int count = 0;
  bool transposed = false;
};

struct Mma : WarpCall {
  float* c = nullptr;
  const std::uint32_t* a = nullptr;
  std::uint32_t b[2] = {};
};

void whole_warp(const char* name, std::uint32_t lanes) {
  if (lanes != all_lanes) fail(std::string(name) + " needs all 32 lanes of the warp");
}

void load_for_all(WarpCall* const* calls, std::uint32_t lanes) {
  whole_warp("ldmatrix", lanes);
  const auto& first = static_cast<const LoadMatrix&>(*calls[0]);
  for (unsigned l = 0; l < warp_size; ++l) {
    const auto& call = static_cast<const LoadMatrix&>(*calls[l]);
    if (call.count != first.count || call.transposed != first.transposed) {
      fail("ldmatrix: the lanes do not agree on what they load");
    }
  }
  for (int i = 0; i < first.count; ++i) {
    std::uint16_t matrix[8][8];
    for (int r = 0; r < 8; ++r) std::memcpy(matrix[r], static_cast<const LoadMatrix&>(*calls[i * 8 + r]).row, 16);
    for (unsigned l = 0; l < warp_size; ++l) {
      const unsigned g = l / 4, t = l % 4;
      const std::uint32_t low = first.transposed ? matrix[2 * t][g] : matrix[g][2 * t];
      const std::uint32_t high = first.transposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
      static_cast<LoadMatrix&>(*calls[l]).registers[i] = low | high << 16;
    }
  }
}

// Every lane's c += its part of a b.
template <int depth>
void add_product(WarpCall* const* calls, const float (&a)[16][depth], const float (&b)[depth][8]) {
  double sums[16][8] = {};
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < depth; ++k) {
      for (int n = 0; n < 8; ++n) sums[m][n] += static_cast<double>(a[m][k]) * static_cast<double>(b[k][n]);
    }
  }
  for (unsigned l = 0; l < warp_size; ++l) {
    float* c = static_cast<Mma&>(*calls[l]).c;
    const unsigned g = l / 4, t = l % 4;
    for (unsigned i = 0; i < 4; ++i) {
      c[i] = static_cast<float>(static_cast<double>(c[i]) + sums[g + i / 2 * 8][2 * t + i % 2]);
    }
  }
}

void multiply_for_all(WarpCall* const* calls, std::uint32_t lanes) {
  whole_warp("mma", lanes);
  float a[16][16], b[16][8];
  for (unsigned l = 0; l < warp_size; ++l) {
    const auto& call = static_cast<const Mma&>(*calls[l]);
    const unsigned g = l / 4, t = l % 4;
    for (unsigned half = 0; half < 2; ++half) {
      const auto value = [half](std::uint32_t pair) {
        return __uint_as_float(half == 0 ? pair << 16 : pair & 0xffff0000U);
      };
      a[g][2 * t + half] = value(call.a[0]);
      a[g + 8][2 * t + half] = value(call.a[1]);
      a[g][2 * t + 8 + half] = value(call.a[2]);
      a[g + 8][2 * t + 8 + half] = value(call.a[3]);
      b[2 * t + half][g] = value(call.b[0]);
      b[2 * t + 8 + half][g] = value(call.b[1]);
    }
  }
  add_product(calls, a, b);
}

void multiply_tf32_for_all(WarpCall* const* calls, std::uint32_t lanes) {
  whole_warp("mma tf32", lanes);
  const auto value = [](std::uint32_t bits) { return __uint_as_float(bits & 0xffffe000U); };
  float a[16][8], b[8][8];
  for (unsigned l = 0; l < warp_size; ++l) {
    const auto& call = static_cast<const Mma&>(*calls[l]);
    const unsigned g = l / 4, t = l % 4;
    for (unsigned i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = value(call.a[i]);
    for (unsigned i = 0; i < 2; ++i) b[t + 4 * i][g] = value(call.b[i]);
  }
  add_product(calls, a, b);
}

}  // namespace

void load_matrix(std::uint32_t* registers, int count, const void* row, bool transposed, const Where& where) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) {
    fail(std::string("ldmatrix at ") + where.file_name() + ":" + std::to_string(where.line()) +
         ": the row is not aligned to 16 bytes");
  }
  LoadMatrix call;
  set_call(call, load_for_all, all_lanes, "ldmatrix", where);
  call.row = static_cast<const unsigned char*>(row);
  call.registers = registers;
  call.count = count;
  call.transposed = transposed;
  meet_warp(call);
}

namespace {

template <class Multiply>
void mma(Multiply multiply, float* c, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1, const Where& where) {
  Mma call;
  set_call(call, multiply, all_lanes, "mma", where);
  call.c = c;
  call.a = a;
  call.b[0] = b0;
  call.b[1] = b1;
  meet_warp(call);
}

}  // namespace

void mma_16x8x16(float* c, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1, const Where& where) {
  mma(multiply_for_all, c, a, b0, b1, where);
}

void mma_16x8x8_tf32(float* c, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1, const Where& where) {
  mma(multiply_tf32_for_all, c, a, b0, b1, where);
}

}  // namespace hylas::emulator
