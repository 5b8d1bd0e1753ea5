// InterruptGuard: SIGINT and SIGTERM for a command that can stop cleanly. The first one raises a flag; the second ends
// the process at once with exit code 75 (the store survives: it is written in transactions). The same signal again
// within half a second counts as the first: timeout(1) sends it to the process and to its group. The old handlers come
// back when the guard goes. Async-signal-safe; at most one guard at a time.
#pragma once

#include <atomic>
#include <csignal>

namespace hylas::search {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  [[nodiscard]] static const std::atomic<bool>* flag();

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace hylas::search
