// The implementation of fiber.hpp.
#include "tests/emulator/fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace hylas::emulator {

namespace {
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t stack_bytes = std::size_t{512} << 10;
#else
constexpr std::size_t stack_bytes = std::size_t{128} << 10;
#endif
constexpr std::size_t fence_bytes = 4096;
constexpr std::size_t slot_bytes = stack_bytes + fence_bytes;

// Stacks that all began at the same place in a page would share the same few lines of the cache.
std::size_t stagger(std::size_t i) {
  return i % 64 * 320;
}
}  // namespace

#if defined(__x86_64__)

// The callee-saved registers of the System V ABI go to the old stack, then come from the new one. A jump, not a return:
// returns are predicted to go back to where the call came from.
extern "C" void hylas_emulator_switch(void** from, void* to);
__asm__(
    ".text\n"
    ".globl hylas_emulator_switch\n"
    ".hidden hylas_emulator_switch\n"
    ".type hylas_emulator_switch, @function\n"
    "hylas_emulator_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  popq %rcx\n  jmp *%rcx\n"
    ".size hylas_emulator_switch, .-hylas_emulator_switch\n");

void switch_fiber(FiberContext& from, FiberContext& to) {
  hylas_emulator_switch(&from.stack_pointer, to.stack_pointer);
}

void FiberStacks::prepare(std::size_t i, FiberContext& context, void (*entry)()) {
  char* top = memory_ + (i + 1) * slot_bytes - stagger(i);
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(memory_ + i * slot_bytes + fence_bytes, stack_bytes);
#endif
  // Six registers, the address to start at, and the (absent) return address of entry.
  auto** slots = reinterpret_cast<void**>(top) - 8;
  std::memset(static_cast<void*>(slots), 0, 8 * sizeof(void*));
  slots[6] = reinterpret_cast<void*>(entry);
  context.stack_pointer = static_cast<void*>(slots);
}

#else

void switch_fiber(FiberContext& from, FiberContext& to) {
  swapcontext(&from.context, &to.context);
}

void FiberStacks::prepare(std::size_t i, FiberContext& context, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = memory_ + i * slot_bytes + fence_bytes;
  context.context.uc_stack.ss_size = stack_bytes - stagger(i);
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}

#endif

FiberStacks::~FiberStacks() {
  if (memory_ != nullptr) munmap(memory_, count_ * slot_bytes);
}

void FiberStacks::reserve(std::size_t count) {
  if (count <= count_) return;
  if (memory_ != nullptr) munmap(memory_, count_ * slot_bytes);
  count_ = 0;
  void* memory =
      mmap(nullptr, count * slot_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  count_ = count;
  for (std::size_t i = 0; i < count; ++i) mprotect(memory_ + i * slot_bytes, fence_bytes, PROT_NONE);
}

}  // namespace hylas::emulator
