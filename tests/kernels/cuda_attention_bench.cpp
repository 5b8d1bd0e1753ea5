// Attention alone on a GPU: milliseconds forward and backward in bf16, to be set beside tests/bench/attention_torch.py.
//   build/tests/test_kernels "[.attention_bench]"
#include <algorithm>
#include <cstdio>
#include <vector>

#include "kernels/attention.hpp"
#include "tests/kernels/cuda_bench.hpp"
#include "tests/kernels/cuda_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;

namespace {

constexpr std::int64_t heads = 16, rows = 16384;

// n normal numbers, a million different ones.
Trials noise(Random& random, std::int64_t n) {
  const Vector few = random.normal(1 << 20);
  Vector many(at(n));
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = few[i % few.size()];
  return {many};
}

}  // namespace

TEST_CASE("speed of attention on the GPU", "[.attention_bench]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(1);
  for (const std::int64_t dim : {64, 128}) {
    for (const std::int64_t T : {2048, 8192}) {
      const std::int64_t B = rows / T, width = heads * dim;
      const DeviceTensor qkv(DType::bf16, {1, B, T, 3 * width}, noise(random, rows * 3 * width));
      const DeviceTensor dout(DType::bf16, {1, B, T, width}, noise(random, rows * width));
      const DeviceTensor out(DType::bf16, {1, B, T, width}), dqkv(DType::bf16, {1, B, T, 3 * width});
      const DeviceTensor lse(DType::f32, {1, B, heads, T});
      std::vector<std::int64_t> lengths = {128, 512, 2048};
      if (T > lengths.back()) lengths.push_back(T);
      for (const std::int64_t window : lengths) {
        const DeviceTensor windows(DType::i32, {1}, std::vector<Ints>{{static_cast<int>(window)}});
        const AttentionData data{windows, {}, {}};
        const Heads shape{heads, heads, dim};
        const double forward = median_ms(gpu, [&] { attention_forward(gpu.ctx, shape, data, qkv, out, lse); });
        const double backward =
            median_ms(gpu, [&] { attention_backward(gpu.ctx, shape, data, {}, qkv, out, lse, dout, dqkv, {}); });
        std::printf("hd %3ld T %4ld W %4ld: forward %.3f backward %.3f sum %.3f ms\n", static_cast<long>(dim),
                    static_cast<long>(T), static_cast<long>(window), forward, backward, forward + backward);
      }
    }
  }
}
