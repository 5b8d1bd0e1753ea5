// Arena: see kernels/arena.hpp.
#include "kernels/arena.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>

namespace hylas::kernels {

namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t smallest_block = std::size_t{1} << 20;
constexpr std::size_t huge_page = std::size_t{2} << 20;

// Large blocks ask for huge pages: rows of an activation lie kilobytes apart, and with small pages the matrix products
// would wait for the translation of their addresses. A system that has none ignores it.
std::byte* allocate(std::size_t bytes) {
  const bool large = bytes >= 2 * huge_page;
  const std::size_t unit = large ? huge_page : alignment;
  void* memory = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (large) (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return static_cast<std::byte*>(memory);
}

}  // namespace

void Arena::Free::operator()(std::byte* p) const {
  std::free(p);
}

std::size_t Arena::capacity() const {
  std::size_t bytes = 0;
  for (const Block& b : blocks_) bytes += b.bytes;
  return bytes;
}

void* Arena::take_bytes(std::size_t bytes) {
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
    const std::size_t bytes_new = std::max({need, smallest_block, capacity() / alignment * alignment});
    blocks_.push_back({std::unique_ptr<std::byte, Free>(allocate(bytes_new)), bytes_new});
    used_ = 0;
  }
  void* p = blocks_[block_].data.get() + used_;
  used_ += need;
  return p;
}

}  // namespace hylas::kernels
