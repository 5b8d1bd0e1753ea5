// How the operators on rows are spread over threads: packets a thread, threads a row, rows a block. Functions of shapes
// only, so that a row's bits do not depend on the rows around it.
#pragma once

#include <cstdint>

namespace hylas::kernels::cuda {

// How many packets of N elements a thread holds and how many threads a row of d takes: a power of two up to 32, or
// whole warps.
struct Split {
  int packets, lanes;
};
inline Split split_of(std::int64_t d, int N) {
  const auto count = static_cast<int>((d + N - 1) / N);
  const int packets = N == 1 ? 8 : count <= 32 ? 1 : count <= 512 ? 2 : 4;
  const int threads = (count + packets - 1) / packets;
  if (threads > 32) return {packets, (threads + 31) / 32 * 32};
  int lanes = 1;
  while (lanes < threads) lanes *= 2;
  return {packets, lanes};
}

// Rows of a block's chunk, of which the block's groups take turns: 16 a group, fewer where that leaves less than 256
// chunks.
inline std::int64_t chunk_of(std::int64_t rows, int groups) {
  std::int64_t turns = 16;
  while (turns > 1 && rows < 256 * turns * groups) turns /= 2;
  return turns * groups;
}

}  // namespace hylas::kernels::cuda
