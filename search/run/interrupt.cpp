// The signal handler: one lock-free flag, and _exit for the second signal.
#include "search/run/interrupt.hpp"

#include <unistd.h>

#include <cstdlib>

namespace hylas::search {
namespace {

// A handler can reach only static storage; this is the one flag of the process.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

constexpr int interrupted_exit_code = 75;

void handle(int) {
  if (interrupted.exchange(true)) _exit(interrupted_exit_code);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  interrupted = false;
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
