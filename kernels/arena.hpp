// Arena: a growing bump allocator for one thread's activations and scratch, on the CPU or on a GPU.
//
// take<T>(n) hands out aligned (64 bytes; 256 on a GPU), uninitialised memory, valid until rewind() to an earlier
// mark() or reset(). Memory is kept for the next step, so a steady state allocates nothing. Not thread-safe.
//
// Planning: an arena made with Arena::planner() hands out addresses that must not be used and counts: peak() after a
// step is what reserve() of a real arena needs so that the same step allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/tensor.hpp"

namespace hylas::kernels {

class Arena {
 public:
  explicit Arena(Device device = {}) : device_(device) {}
  [[nodiscard]] static Arena planner(Device device);
  [[nodiscard]] Device device() const { return device_; }

  struct Mark {
    std::size_t block = 0;
    std::size_t used = 0;
  };

  template <class T>
  T* take(std::int64_t n) {
    return static_cast<T*>(take_bytes(static_cast<std::size_t>(n) * sizeof(T)));
  }
  // A fresh tensor of the given dims.
  Tensor tensor(DType dtype, std::initializer_list<std::int64_t> dims) {
    std::int64_t n = size_of(dtype);
    for (auto d : dims) n *= d;
    return Tensor(take_bytes(static_cast<std::size_t>(n)), dtype, dims, device_);
  }
  [[nodiscard]] Mark mark() const { return {block_, used_}; }
  void rewind(Mark m) {
    block_ = m.block;
    used_ = m.used;
  }
  void reset() { rewind({}); }
  // Bytes held, used or not: what memory planning and `peak_bytes` report.
  [[nodiscard]] std::size_t capacity() const;
  // The most bytes that were taken at one time (in blocks before the current one, what they hold counts whole).
  [[nodiscard]] std::size_t peak() const { return peak_; }
  // Makes room for `bytes` in one block. Only on an arena that holds nothing yet.
  void reserve(std::size_t bytes);

 private:
  struct Free {
    Device device;
    bool owned = true;
    void operator()(std::byte* p) const;
  };
  struct Block {
    std::unique_ptr<std::byte, Free> data;
    std::size_t bytes = 0;
  };
  void* take_bytes(std::size_t bytes);
  void add_block(std::size_t bytes);

  Device device_;
  std::size_t peak_ = 0;
  std::vector<Block> blocks_;
  std::size_t block_ = 0;
  std::size_t used_ = 0;
};

// Gives back, at the end of a scope, what was taken from an arena inside it.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.rewind(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

}  // namespace hylas::kernels
