// See bench_lab.hpp.
#include "search/cli/bench_lab.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>

#include "kernels/build.hpp"
#include "model/cuda/graph.hpp"

namespace hylas::cli {
namespace {

using kernels::Arena;
using kernels::DType;
using kernels::Tensor;
using Clock = std::chrono::steady_clock;

constexpr double batch_target = 0.020;  // seconds of calls between two looks at the clock
constexpr double graph_target = 0.001;  // seconds of calls in one graph: the launch of a graph then costs nothing
constexpr std::int64_t pattern_size = 1'000'003;

// The upper half of the float, rounded to nearest even.
std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

std::int64_t calls_for(double target, double one) {
  return static_cast<std::int64_t>(std::clamp(std::ceil(target / std::max(one, 1e-9)), 1.0, 1e6));
}

Tensor take(Arena& arena, DType dtype, std::initializer_list<std::int64_t> dims) {
  return arena.tensor(dtype, dims);
}

}  // namespace

BenchLab::BenchLab(const kernels::Device& device) : device_(device) {
  if (on_gpu()) runtime_ = std::make_unique<kernels::cuda::Runtime>(device.index);
  context_.device = device;
  context_.gpu = runtime_.get();
  clear();
}

void BenchLab::clear() {
  memory_ = Arena(device_);
  context_.arena = Arena(device_);
}

// splitmix64
std::uint32_t BenchLab::next() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
}

void BenchLab::put(const Tensor& t, const void* pattern, std::size_t bytes) const {
  const auto all = static_cast<std::size_t>(t.size() * kernels::size_of(t.dtype()));
  for (std::size_t at = 0; at < all; at += bytes) {
    auto* to = static_cast<char*>(t.data()) + at;
    const std::size_t count = std::min(bytes, all - at);
    if (on_gpu()) {
      kernels::cuda::upload(to, pattern, count, device_.index);
    } else {
      std::memcpy(to, pattern, count);
    }
  }
}

Tensor BenchLab::random(DType dtype, std::initializer_list<std::int64_t> dims, double scale) {
  const Tensor t = take(memory_, dtype, dims);
  const double width = 2 * std::sqrt(3.0) * scale;
  std::vector<float> values(static_cast<std::size_t>(std::min(t.size(), pattern_size)));
  for (float& value : values) value = static_cast<float>(width * (next() / 4294967296.0 - 0.5));
  if (dtype == DType::f32) {
    put(t, values);
  } else {
    std::vector<std::uint16_t> halves(values.size());
    std::transform(values.begin(), values.end(), halves.begin(), to_bf16);
    put(t, halves);
  }
  return t;
}

Tensor BenchLab::integers(std::initializer_list<std::int64_t> dims, std::int64_t first, std::int64_t count) {
  const Tensor t = take(memory_, DType::i32, dims);
  std::vector<std::int32_t> values(static_cast<std::size_t>(std::min(t.size(), pattern_size)));
  for (auto& value : values) value = static_cast<std::int32_t>(first + next() % count);
  put(t, values);
  return t;
}

Tensor BenchLab::filled(std::initializer_list<std::int64_t> dims, float value) {
  const Tensor t = take(memory_, DType::f32, dims);
  put(t, std::vector<float>(static_cast<std::size_t>(std::min(t.size(), pattern_size)), value));
  return t;
}

Tensor BenchLab::holding(const Tensor& host) {
  const Tensor t = take(memory_, host.dtype(), {host.dim(0), host.dim(1), host.dim(2)});
  put(t, host.data(), static_cast<std::size_t>(host.size() * kernels::size_of(host.dtype())));
  return t;
}

double BenchLab::batch_seconds(const std::function<void()>& run, std::int64_t times) const {
  if (runtime_) runtime_->synchronize();
  const auto start = Clock::now();
  for (std::int64_t i = 0; i < times; ++i) run();
  if (runtime_) runtime_->synchronize();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double BenchLab::seconds(const std::function<void()>& call) {
  const auto median = [&](const std::function<void()>& run, std::int64_t calls_a_run) {
    run();
    double one = batch_seconds(run, 1);
    if (one < batch_target)
      one = batch_seconds(run, calls_for(batch_target / 4, one)) / calls_for(batch_target / 4, one);
    const std::int64_t times = calls_for(batch_target, one);
    std::array<double, 5> batches{};
    for (double& batch : batches) batch = batch_seconds(run, times) / static_cast<double>(times * calls_a_run);
    std::nth_element(batches.begin(), batches.begin() + 2, batches.end());
    return batches[2];
  };
  const auto scoped = [&] {
    const kernels::ArenaScope scope(context_.arena);
    call();
  };
  if constexpr (kernels::with_cuda) {
    if (on_gpu()) {
      scoped();
      const std::int64_t repeats = std::min<std::int64_t>(200, calls_for(graph_target, batch_seconds(scoped, 1)));
      model::cuda::StepGraph graph;
      const auto recorded = [&] {
        graph.run(context_, [&] {
          for (std::int64_t i = 0; i < repeats; ++i) scoped();
        });
      };
      recorded();  // as it is; the next one records
      return median(recorded, repeats);
    }
  }
  return median(scoped, 1);
}

}  // namespace hylas::cli
