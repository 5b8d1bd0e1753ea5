// What carries the operators: arena, thread pool, and the errors for wrong devices and tensors.
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>

#include "kernels/attention.hpp"
#include "kernels/build.hpp"
#include "kernels/linear.hpp"
#include "kernels/parallel.hpp"
#include "kernels/swiglu.hpp"
#include "tests/kernels/support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;

namespace {

template <class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an arena hands out aligned memory that does not overlap, and keeps it", "[arena]") {
  Arena arena;
  CHECK(arena.capacity() == 0);
  std::size_t steady = 0;
  for (int round = 0; round < 3; ++round) {
    arena.reset();
    std::vector<std::pair<unsigned char*, std::int64_t>> taken;
    for (std::int64_t n : {1, 100, 3'000'000, 5, 0, 64, 9'000'000, 70'000}) {
      auto* p = arena.take<unsigned char>(n);
      REQUIRE(p != nullptr);
      CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
      std::memset(p, static_cast<int>(taken.size()), static_cast<std::size_t>(n));
      taken.emplace_back(p, n);
    }
    for (std::size_t i = 0; i < taken.size(); ++i) {
      for (auto at : {std::int64_t{0}, taken[i].second - 1}) {
        if (taken[i].second > 0) CHECK(taken[i].first[at] == i);
      }
    }
    if (round == 0) steady = arena.capacity();
    CHECK(arena.capacity() == steady);  // the same requests again allocate nothing
  }
}

TEST_CASE("an arena rewinds to a mark, and grows where a kept block is too small", "[arena]") {
  Arena arena;
  auto* first = arena.take<float>(10);
  first[9] = 7;
  float* inner = nullptr;
  {
    const ArenaScope scope(arena);
    inner = arena.take<float>(1000);
    (void)arena.take<float>(2'000'000);
  }
  CHECK(arena.take<float>(1000) == inner);
  auto* large = arena.take<float>(20'000'000);
  large[0] = large[19'999'999] = 1;
  CHECK(first[9] == 7);
  CHECK(arena.tensor(DType::f32, {2, 3}).trial_stride() == 3);
  CHECK_THROWS_AS(arena.take<float>(-1), std::bad_alloc);
}

TEST_CASE("a pool runs every item once, each thread with a context of its own", "[parallel]") {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    for (std::int64_t items : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(items));
      pool.run(items, [&](std::int64_t i, Context& ctx) {
        const ArenaScope scope(ctx.arena);
        auto* mine = ctx.arena.take<std::int64_t>(100);
        std::fill_n(mine, 100, i);
        bool whole = true;
        for (int k = 0; k < 100; ++k) whole = whole && mine[k] == i;
        if (whole) ++runs[static_cast<std::size_t>(i)];
      });
      bool once = true;
      for (const auto& r : runs) once = once && r == 1;
      CHECK(once);
    }
    CHECK(pool.arena_bytes() > 0);
    (void)pool.main_context().arena.take<char>(1);
  }
  CHECK(ThreadPool(0).size() >= 1);
}

TEST_CASE("a pool rethrows the first item's exception after all items ended, and works on", "[parallel]") {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> ended = 0;
    const auto text = message([&] {
      pool.run(50, [&](std::int64_t i, Context&) {
        ++ended;
        if (i % 10 == 7) throw std::runtime_error("item " + std::to_string(i));
      });
    });
    CHECK(text == "item 7");
    CHECK(ended == 50);
  }
  const auto nested = message([&] { pool.run(1, [&](std::int64_t, Context&) { pool.run(1, {}); }); });
  CHECK(contains(nested, "while it runs"));
}

TEST_CASE("a build without CUDA says so, once and clearly; with it, a GPU needs its Runtime", "[errors]") {
  Context ctx;
  ctx.device = {DeviceKind::cuda, 1};
  const auto text = message([&] { linear_forward(ctx, {}, {}, {}); });
  CHECK(contains(text, with_cuda ? "without its Runtime" : "this build has no CUDA"));
  CHECK((with_cuda || contains(text, "cuda:1")));
}

TEST_CASE("wrong tensors are named with what was expected", "[errors]") {
  Context ctx;
  const Memory<float> x({2, 3, 4}, 0), w({2, 5, 4}, 0), y({2, 3, 5}, 0), short_w({2, 5, 3}, 0), one_trial({1, 3, 5}, 0);
  const Memory<double> doubles({2, 3, 5}, 0);
  CHECK(contains(message([&] { linear_forward(ctx, x, short_w, y); }), "w should be [2, any, 4], is f32 [2, 5, 3]"));
  CHECK(contains(message([&] { linear_forward(ctx, x, w, doubles); }), "y should be f32, is f64 [2, 3, 5]"));
  CHECK(contains(message([&] { linear_forward(ctx, x, w, one_trial); }), "y should be 2 trials of 3 rows of 5"));
  CHECK(contains(message([&] { linear_forward(ctx, x, {}, y); }), "w is absent"));
  const Memory<std::int32_t> ints({2, 3, 4}, 0);
  CHECK(contains(message([&] { linear_forward(ctx, ints, w, y); }), "x should be f32 or f64"));
  CHECK(contains(message([&] { swiglu_forward(ctx, x, y); }), "gate_up"));
  const Tensor elsewhere(x.tensor().data(), DType::f32, {2, 3, 4}, {DeviceKind::cuda, 0});
  CHECK(contains(message([&] { linear_forward(ctx, elsewhere, w, y); }), "not in the memory of the CPU"));
  const Memory<float> qkv({1, 1, 4, 6}, 0), out({1, 1, 4, 2}, 0), lse({1, 1, 1, 4}, 0);
  const Memory<std::int32_t> window({1}, 0, std::vector<Ints>{{0}}, 0);
  AttentionData data;
  data.window = window;
  CHECK(contains(message([&] {
                   attention_forward(ctx, {1, 1, 2}, data, qkv, out, lse);
                 }),
                 "window of trial 0 should be at least 1, is 0"));
  CHECK(contains(message([&] { attention_forward(ctx, {3, 2, 2}, data, qkv, out, lse); }), "divide the query heads"));
}
