// Speed of recurrence on the CPU, nanoseconds a token on one thread. Hidden: run it with
//   build/tests/test_kernels "[.bench]"
#include <time.h>

#include <cstdio>

#include "tests/kernels/recurrence_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;

namespace {

double seconds() {  // of this thread on a core
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

void report(const hylas::oracle::RecurrenceShape& s, std::int64_t chunk, bool baseline) {
  Random random(1);
  const RecurrenceCase c = recurrence_case(random, s, Decay::random, Strength::random, false, 1);
  Context ctx = context(baseline);
  const std::int64_t b = s.batch, t = s.length, h = s.heads;
  const Memory<float> qkv({1, b, t, s.width}, 0, Trials{c.trials[0].qkv}, 0);
  const Memory<float> g({1, b, t, h}, 0, Trials{c.trials[0].g}, 0), beta({1, b, t, h}, 0, Trials{*c.trials[0].beta}, 0);
  const Memory<float> dout({1, b, t, h * s.value_dim}, 0, c.dout, 0), out({1, b, t, h * s.value_dim}, 0);
  const Memory<float> dqkv({1, b, t, s.width}, 0), dg({1, b, t, h}, 0), dbeta({1, b, t, h}, 0);
  const RecurrenceInputs in{qkv, g, beta, {}};
  double forward = 1e9, backward = 1e9;
  for (int i = 0; i < 50; ++i) {
    const ArenaScope scope(ctx.arena);
    RecurrenceSaved saved;
    const double start = seconds();
    recurrence_forward(ctx, recurrence_of(s, chunk), in, out, saved);
    const double middle = seconds();
    recurrence_backward(ctx, recurrence_of(s, chunk), in, saved, dout, {dqkv, dg, dbeta, {}});
    forward = std::min(forward, middle - start);
    backward = std::min(backward, seconds() - middle);
  }
  const double tokens = static_cast<double>(b * t) * 1e-9;
  std::printf("recurrence %s %s H %d G %d K = V %d T %d chunk %3d: forward %.0f, backward %.0f ns a token\n",
              s.delta ? "delta" : "plain", baseline ? "baseline" : "best", static_cast<int>(h),
              static_cast<int>(s.groups), static_cast<int>(s.key_dim), static_cast<int>(t), static_cast<int>(chunk),
              forward / tokens, backward / tokens);
}

}  // namespace

TEST_CASE("speed of recurrence", "[.bench]") {
  for (bool delta : {true, false}) {
    for (std::int64_t chunk : {16, 32, 64, 128}) {
      for (bool baseline : {true, false}) {
        report(recurrence_shape(delta, 16, 128, 2, 2, 32, 32, 0), chunk, baseline);
        report(recurrence_shape(delta, 2, 512, 4, 4, 64, 64, 0), chunk, baseline);
        if (!delta) report(recurrence_shape(delta, 2, 512, 4, 1, 64, 64, 0), chunk, baseline);
      }
    }
  }
}
