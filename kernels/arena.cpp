// Arena: see kernels/arena.hpp.
#include "kernels/arena.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>

#include "kernels/cuda/runtime.hpp"

namespace hylas::kernels {

namespace {

constexpr std::size_t cpu_alignment = 64, gpu_alignment = 256;
constexpr std::size_t smallest_block = std::size_t{1} << 20;
constexpr std::size_t huge_page = std::size_t{2} << 20;

// Large blocks ask for huge pages: rows of an activation lie kilobytes apart, and with small pages the matrix products
// would wait for the translation of their addresses. A system that has none ignores it.
std::byte* allocate(std::size_t bytes, Device device) {
  if (device.kind == DeviceKind::cuda) return static_cast<std::byte*>(cuda::device_allocate(bytes, device.index));
  const bool large = bytes >= 2 * huge_page;
  const std::size_t unit = large ? huge_page : cpu_alignment;
  void* memory = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (large) (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return static_cast<std::byte*>(memory);
}

}  // namespace

void Arena::Free::operator()(std::byte* p) const {
  if (!owned) return;
  if (device.kind == DeviceKind::cuda) {
    cuda::device_free(p, device.index);
  } else {
    std::free(p);
  }
}

// One block without end, at an address that nobody maps.
Arena Arena::planner(Device device) {
  Arena arena(device);
  constexpr std::size_t endless = std::size_t{1} << 46;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): never dereferenced
  auto* nowhere = reinterpret_cast<std::byte*>(std::uintptr_t{1} << 46);
  arena.blocks_.push_back({std::unique_ptr<std::byte, Free>(nowhere, Free{device, false}), endless});
  return arena;
}

void Arena::add_block(std::size_t bytes) {
  blocks_.push_back({std::unique_ptr<std::byte, Free>(allocate(bytes, device_), Free{device_, true}), bytes});
}

void Arena::reserve(std::size_t bytes) {
  if (!blocks_.empty()) throw std::logic_error("Arena: reserve() on an arena in use");
  if (bytes > 0) add_block((bytes + gpu_alignment - 1) / gpu_alignment * gpu_alignment);
}

std::size_t Arena::capacity() const {
  std::size_t bytes = 0;
  for (const Block& b : blocks_) bytes += b.bytes;
  return bytes;
}

void* Arena::take_bytes(std::size_t bytes) {
  const std::size_t alignment = device_.kind == DeviceKind::cuda ? gpu_alignment : cpu_alignment;
  // A negative count arrives here as a huge one.
  if (bytes > std::numeric_limits<std::size_t>::max() / 4) throw std::bad_alloc();
  const std::size_t need = std::max((bytes + alignment - 1) / alignment * alignment, alignment);
  if (block_ < blocks_.size() && blocks_[block_].bytes - used_ < need) {
    ++block_;
    used_ = 0;
    // Later blocks hold nothing now: those too small for this are replaced by one that is not.
    if (block_ < blocks_.size() && blocks_[block_].bytes < need) {
      blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(block_), blocks_.end());
    }
  }
  if (block_ == blocks_.size()) {
    add_block(std::max({need, smallest_block, capacity() / alignment * alignment}));
    used_ = 0;
  }
  void* p = blocks_[block_].data.get() + used_;
  used_ += need;
  std::size_t before = 0;
  for (std::size_t b = 0; b < block_; ++b) before += blocks_[b].bytes;
  peak_ = std::max(peak_, before + used_);
  return p;
}

}  // namespace hylas::kernels
