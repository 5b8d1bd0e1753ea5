// The signal handler: one lock-free flag, and _exit for the second signal.
#include "search/run/interrupt.hpp"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace hylas::search {
namespace {

// A handler can reach only static storage; this is the one flag of the process.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);
// The first signal and when it came, in nanoseconds; 0: none yet.
std::atomic<std::int64_t> first_at{0};
std::atomic<int> first_signal{0};
static_assert(std::atomic<std::int64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

constexpr std::int64_t same_signal_nanoseconds = 500'000'000;

constexpr int interrupted_exit_code = 75;

void handle(int signal) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t at = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  std::int64_t first = 0;
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  if (!first_at.compare_exchange_strong(first, at)) {
    if (signal != first_signal || at - first > same_signal_nanoseconds) _exit(interrupted_exit_code);
  }
  interrupted = true;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  interrupted = false;
  first_at = 0;
  first_signal = 0;
  struct sigaction action {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &old_interrupt_);
  sigaction(SIGTERM, &action, &old_terminate_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
}

const std::atomic<bool>* InterruptGuard::flag() {
  return &interrupted;
}

}  // namespace hylas::search
