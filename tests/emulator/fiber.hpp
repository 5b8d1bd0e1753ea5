// Stacks and the switch between them: hand-written for x86-64 (a switch costs nanoseconds), ucontext elsewhere.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace hylas::emulator {

struct FiberContext {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
};

// Saves the running fiber in `from` and goes on with `to`.
void switch_fiber(FiberContext& from, FiberContext& to);

// One stack a thread of a block, reused by all blocks, each with an unreadable page below it.
class FiberStacks {
 public:
  FiberStacks() = default;
  ~FiberStacks();
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;
  void reserve(std::size_t count);
  // The context that starts `entry` on stack i; entry must never return.
  void prepare(std::size_t i, FiberContext& context, void (*entry)());

 private:
  std::size_t count_ = 0;
  char* memory_ = nullptr;
};

}  // namespace hylas::emulator
