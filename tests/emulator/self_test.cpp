// The emulator's own tests: right kernels give right results in every order of threads, wrong ones are found out.
#include "tests/emulator/self_test.cuh"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "tests/catch.hpp"
#include "tests/emulator/emulator.hpp"

namespace hylas::test {
namespace {

using emulator::Order;

const std::vector<Order> orders{{Order::Kind::ascending, 0},
                                {Order::Kind::descending, 0},
                                {Order::Kind::shuffled, 1},
                                {Order::Kind::shuffled, 2},
                                {Order::Kind::shuffled, 3}};

template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t n) : n_(n) { REQUIRE(cudaMalloc(&data_, n * sizeof(T)) == cudaSuccess); }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    REQUIRE(cudaMemcpy(data_, values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~Buffer() { (void)cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator T*() const { return data_; }  // NOLINT: stands in for its memory
  [[nodiscard]] std::vector<T> values() const {
    std::vector<T> v(n_);
    REQUIRE(cudaMemcpy(v.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return v;
  }

 private:
  std::size_t n_;
  T* data_ = nullptr;
};

std::vector<float> numbers(std::size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> d(-1, 1);
  std::vector<float> v(n);
  for (float& x : v) x = d(engine);
  return v;
}

std::uint16_t upper_half(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}
float from_upper_half(std::uint16_t h) {
  const std::uint32_t bits = static_cast<std::uint32_t>(h) << 16;
  float x = 0;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}
bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("emulator: sums by shuffles and shared memory") {
  for (const Order& order : orders) {
    emulator::set_order(order);
    const auto in = numbers(5 * 256, 1);
    const Buffer<float> device(in);
    const Buffer<float> out(5);
    sum_blocks({dim3(5), dim3(256)}, device, out);
    const auto sums = out.values();
    for (std::size_t b = 0; b < 5; ++b) {
      double sum = 0;
      for (std::size_t i = 0; i < 256; ++i) sum += static_cast<double>(in[b * 256 + i]);
      CHECK(static_cast<double>(sums[b]) == Approx(sum).margin(1e-4));
    }
  }
  emulator::set_order({});
}

TEST_CASE("emulator: a missing barrier shows") {
  const int rows = 45, columns = 70;
  const auto in = numbers(static_cast<std::size_t>(rows * columns), 2);
  const Launch launch{dim3(3, 2), dim3(32, 32), 32 * 33 * sizeof(float)};
  for (const Order& order : orders) {
    emulator::set_order(order);
    for (const bool barrier : {true, false}) {
      const Buffer<float> device(in);
      const Buffer<float> out(in.size());
      (barrier ? transpose : transpose_without_barrier)(launch, device, rows, columns, out);
      const auto values = out.values();
      bool right = true;
      for (int y = 0; y < rows; ++y) {
        for (int x = 0; x < columns; ++x) {
          right =
              right && values[static_cast<std::size_t>(x * rows + y)] == in[static_cast<std::size_t>(y * columns + x)];
        }
      }
      CHECK(right == barrier);
    }
  }
  emulator::set_order({});
}

TEST_CASE("emulator: ldmatrix and mma against a plain product") {
  for (const Order& order : orders) {
    emulator::set_order(order);
    for (const bool b_transposed : {false, true}) {
      std::vector<std::uint16_t> a, b;
      for (const float x : numbers(256, 3)) a.push_back(upper_half(x));
      for (const float x : numbers(128, 4)) b.push_back(upper_half(x));
      const Buffer<std::uint16_t> a_device(a);
      const Buffer<std::uint16_t> b_device(b);
      const Buffer<float> c(128);
      product({dim3(1), dim3(32), 768}, a_device, b_device, b_transposed, c);
      const auto values = c.values();
      for (std::size_t m = 0; m < 16; ++m) {
        for (std::size_t n = 0; n < 8; ++n) {
          double sum = 0;
          for (std::size_t k = 0; k < 16; ++k) {
            sum += static_cast<double>(from_upper_half(a[m * 16 + k])) *
                   static_cast<double>(from_upper_half(b[b_transposed ? n * 16 + k : k * 8 + n]));
          }
          CHECK(static_cast<double>(values[m * 8 + n]) == Approx(sum).margin(1e-6));
        }
      }
    }
  }
  emulator::set_order({});
}

TEST_CASE("emulator: asynchronous copies take effect when they are waited for") {
  const int tiles = 5, threads = 96;
  const auto in = numbers(static_cast<std::size_t>(tiles * threads * 4), 5);
  for (const Order& order : orders) {
    emulator::set_order(order);
    for (const bool wait : {true, false}) {
      const Buffer<float> device(in);
      const Buffer<float> out(in.size());
      stream_tiles({dim3(1), dim3(threads), 2 * threads * 16}, device, tiles, wait, out);
      const auto values = out.values();
      bool right = true;
      bool numbers_only = true;
      for (std::size_t i = 0; i < in.size(); ++i) {
        right = right && values[i] == in[i] + 1;
        numbers_only = numbers_only && !std::isnan(values[i]);
      }
      CHECK(right == wait);
      CHECK(numbers_only == wait);
    }
  }
  emulator::set_order({});
}

TEST_CASE("emulator: collectives") {
  for (const Order& order : orders) {
    emulator::set_order(order);
    const Buffer<std::uint32_t> out(64 * 12);
    collectives({dim3(1), dim3(64)}, out);
    const auto v = out.values();
    for (std::uint32_t i = 0; i < 64; ++i) {
      const std::uint32_t lane = i % 32;
      const std::vector<std::uint32_t> got(v.begin() + i * 12, v.begin() + i * 12 + 11);
      const std::vector<std::uint32_t> expected{
          0xaaaaaaaaU,          1, 0, 32, 1, 0, lane % 8 < 3 ? lane : lane - 3, 496, i % 2 == 1 ? 9U : 8U, lane ^ 1U,
          0xffU << lane / 8 * 8};
      CHECK(got == expected);
    }
    CHECK(v[12 * 12 + 11] == 2 + 28 + 3 + 3);  // 12: two bits, 28 zeros above, the lowest one is the third
  }
  emulator::set_order({});
}

TEST_CASE("emulator: atomics") {
  const Buffer<int> count(std::vector<int>{5});
  const Buffer<unsigned long long> largest(std::vector<unsigned long long>{0});
  atomics({dim3(7), dim3(33)}, count, largest);
  CHECK(count.values()[0] == 5 + 7 * 33);
  CHECK(largest.values()[0] == 7 * 33 - 1);
}

TEST_CASE("emulator: blocks that cannot finish are reported with the places") {
  const std::string stuck = message_of([] { divergent_barrier({dim3(1), dim3(64)}); });
  CHECK(contains(stuck, "cannot go on"));
  CHECK(contains(stuck, "32 (the first: 0) wait in __syncthreads at"));
  CHECK(contains(stuck, "self_test.cu:"));
  const Buffer<int> out(32);
  CHECK(contains(message_of([&] { missing_lane({dim3(1), dim3(32)}, out); }), "lane 5 of the mask has returned"));
  // The machine works on after a failed launch.
  const Buffer<float> in(numbers(256, 6));
  const Buffer<float> sum(1);
  sum_blocks({dim3(1), dim3(256)}, in, sum);
  CHECK(std::isfinite(sum.values()[0]));
}

TEST_CASE("emulator: writes outside of memory are reported") {
  CHECK(contains(message_of([] { past_shared_memory({dim3(2), dim3(1), 96}); }), "wrote byte 96 of its 96 bytes"));
  const Buffer<float> p(10);
  CHECK(contains(message_of([&] { past_global_memory({dim3(1), dim3(1)}, p, 10); }), "0 bytes past the end"));
  float healed = 0;
  std::memset(&healed, emulator::poison, sizeof healed);
  std::memcpy(p + 10, &healed, sizeof healed);
  CHECK(message_of([] { emulator::check_fences(); }).empty());
}

TEST_CASE("emulator: launches are checked as on a GPU") {
  const Buffer<float> in(numbers(256, 7));
  const Buffer<float> out(1);
  (void)cudaGetLastError();
  sum_blocks({dim3(1), dim3(1025)}, in, out);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  sum_blocks({dim3(1), dim3(256), 64 * 1024}, in, out);  // without cudaFuncSetAttribute
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
}

TEST_CASE("emulator: graphs") {
  const auto values = numbers(256, 8);
  const Buffer<float> in(values);
  const Buffer<float> out(1);
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  sum_blocks({dim3(1), dim3(256), 0, stream}, in, out);
  CHECK(cudaStreamSynchronize(stream) != cudaSuccess);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(std::isnan(out.values()[0]));  // recorded, not run
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
  CHECK(std::isfinite(out.values()[0]));
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  (void)cudaGetLastError();
}

}  // namespace hylas::test
