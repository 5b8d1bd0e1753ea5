// The emulator's scheduler: the blocks of a grid, and which thread of a block runs next. See emulator.hpp.
#include "tests/emulator/emulator.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>

#include "cuda_runtime.h"
#include "tests/emulator/machine.hpp"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

// GCC guards a thread_local array declared `extern` in an unnamed namespace by a call of the file's own __tls_init, and
// makes none where the file initialises nothing. Nothing is to be done.
extern "C" __attribute__((weak, visibility("hidden"))) void hylas_emulator_nothing_to_initialise() __asm__(
    "__tls_init");
extern "C" void hylas_emulator_nothing_to_initialise() {}

namespace hylas::emulator {

// The dynamic shared memory of every kernel; with room behind it to see writes past its end.
inline constexpr std::size_t shared_fence = 1024;
extern thread_local unsigned char dynamic_shared[] __asm__("hylas_emulator_shared_memory");
alignas(1024) constinit thread_local unsigned char dynamic_shared[max_shared_bytes + shared_fence] = {};

constinit thread_local Machine* this_machine = nullptr;

Machine& make_machine() {
  static thread_local std::unique_ptr<Machine> instance;
  instance = std::make_unique<Machine>();
  this_machine = instance.get();
  return *this_machine;
}

namespace {

Order order_of_environment() {
  const char* text = std::getenv("EMULATOR_ORDER");
  if (text == nullptr || *text == 0 || std::string(text) == "ascending") return {};
  if (std::string(text) == "descending") return {Order::Kind::descending, 0};
  return {Order::Kind::shuffled, std::strtoull(text, nullptr, 10)};
}

Order& current_order() {
  static Order instance = order_of_environment();
  return instance;
}

std::string name_of(const uint3& i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

// The next thread of a warp to run, taken from those that are ready; nullptr where none is, or by chance.
Thread* next_of(Machine& m, Warp& warp) {
  if (warp.ready == 0) return nullptr;
  auto lane = static_cast<unsigned>(std::countr_zero(warp.ready));
  if (m.kind == Order::Kind::descending) lane = 31 - static_cast<unsigned>(std::countl_zero(warp.ready));
  if (m.kind == Order::Kind::shuffled) {
    const std::uint64_t chance = m.random();
    if (chance % 64 == 0) return nullptr;
    lane = static_cast<unsigned>(chance >> 6) % warp_size;
    while ((warp.ready >> lane & 1) == 0) lane = (lane + 1) % warp_size;
  }
  warp.ready &= ~(1U << lane);
  return m.threads[static_cast<std::size_t>(&warp - m.warps.data()) * warp_size + lane].get();
}

void thread_main() {
  Machine& m = machine();
  (*m.kernel)();
  Thread& self = *m.current;
  self.state = State::done;
  m.warp_of(self).done |= 1U << self.number % warp_size;
  ++m.finished;
  switch_fiber(self.context, m.host);
}

// Runs `t`, and after it others of its warp, until one returns or none is ready.
void run(Machine& m, Thread& t) {
  m.current = &t;
  threadIdx = t.index;
  switch_fiber(m.host, t.context);
  const Thread& last = *m.current;
  m.current = nullptr;
  if (!m.failure.empty()) {
    throw std::runtime_error("emulator: block " + name_of(blockIdx) + ", thread " + name_of(last.index) + ": " +
                             m.failure);
  }
}

std::string deadlock(Machine& m) {
  std::string text = "emulator: block " + name_of(blockIdx) + " of " + std::to_string(m.count) +
                     " threads cannot go on: " + std::to_string(m.finished) + " threads have returned";
  std::vector<std::pair<std::string, std::pair<unsigned, unsigned>>> places;  // place, first thread, threads
  for (unsigned i = 0; i < m.count; ++i) {
    const Thread& t = *m.threads[i];
    if (t.state == State::done) continue;
    std::string place = std::string(t.waits_for) + " at " + text_of(t.where);
    if (t.state == State::in_warp) {
      char mask[32];
      std::snprintf(mask, sizeof mask, " (mask %08x)", t.mask);
      place += mask;
    }
    const auto known = std::find_if(places.begin(), places.end(), [&](const auto& p) { return p.first == place; });
    if (known == places.end()) {
      places.push_back({place, {i, 1}});
    } else {
      ++known->second.second;
    }
  }
  for (const auto& [place, threads] : places) {
    text +=
        "; " + std::to_string(threads.second) + " (the first: " + std::to_string(threads.first) + ") wait in " + place;
  }
  return text;
}

void arrange(std::vector<unsigned>& v, std::mt19937_64& random) {
  std::iota(v.begin(), v.end(), 0U);
  if (current_order().kind == Order::Kind::descending) std::reverse(v.begin(), v.end());
  if (current_order().kind == Order::Kind::shuffled) std::shuffle(v.begin(), v.end(), random);
}

void prepare_block(Machine& m) {
  m.arrived = m.finished = 0;
  unsigned i = 0;
  for (unsigned z = 0; z < blockDim.z; ++z) {
    for (unsigned y = 0; y < blockDim.y; ++y) {
      for (unsigned x = 0; x < blockDim.x; ++x, ++i) {
        Thread& t = *m.threads[i];
        t.index = uint3{x, y, z};
        t.number = i;
        t.state = State::ready;
        t.copies.clear();
        t.committed = 0;
        m.stacks.prepare(i, t.context, thread_main);
      }
    }
  }
  m.warps.resize((m.count + warp_size - 1) / warp_size);
  for (unsigned w = 0; w < m.warps.size(); ++w) {
    const unsigned lanes = std::min(warp_size, m.count - w * warp_size);
    const std::uint32_t all = lanes == warp_size ? 0xffffffffU : (1U << lanes) - 1;
    m.warps[w].existing = m.warps[w].ready = all;
    m.warps[w].done = 0;
    m.warps[w].groups = 0;
  }
}

void run_block(Machine& m) {
  prepare_block(m);
  const bool shuffled = m.kind == Order::Kind::shuffled;
  std::vector<unsigned> warps(m.warps.size());
  arrange(warps, m.random);
  while (m.finished < m.count) {
    bool moved = false;
    if (shuffled) arrange(warps, m.random);
    for (const unsigned w : warps) {
      Warp& warp = m.warps[w];
      // Each warp goes as far as it can, so that warps are as far apart as barriers allow; shuffled, by chance less
      // far.
      while (Thread* t = next_of(m, warp)) {
        run(m, *t);
        moved = true;
      }
    }
    const auto is_ready = [](const Warp& w) { return w.ready != 0; };
    if (!moved && std::none_of(m.warps.begin(), m.warps.end(), is_ready)) throw std::runtime_error(deadlock(m));
  }
}

}  // namespace

void wait(State state, const char* name, const Where& where) {
  Machine& m = machine();
  Thread& self = *m.current;
  self.state = state;
  self.waits_for = name;
  self.where = where;
  // On with another thread of the warp at once, or back to run_block.
  Thread* next = next_of(m, m.warp_of(self));
  if (next == nullptr) {
    switch_fiber(self.context, m.host);
  } else {
    m.current = next;
    threadIdx = next->index;
    switch_fiber(self.context, next->context);
  }
}

void set_order(Order o) {
  current_order() = o;
}
Order order() {
  return current_order();
}

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& kernel) {
  Machine& m = machine();
  if (m.current != nullptr) throw std::logic_error("emulator: a launch inside a kernel");
  m.count = block.x * block.y * block.z;
  m.failure.clear();
  m.kernel = &kernel;
  m.kind = current_order().kind;
  m.random.seed(current_order().seed);
  while (m.threads.size() < m.count) m.threads.push_back(std::make_unique<Thread>());
  m.stacks.reserve(m.count);
  blockDim = block;
  gridDim = grid;
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  for (std::uint64_t n = 0; n < blocks; ++n) {
    std::uint64_t b = n;
    if (current_order().kind == Order::Kind::descending) b = blocks - 1 - n;
    // A permutation: odd strides below 2^32 with no common divisor would need a search; a rotation and a reversal do.
    if (current_order().kind == Order::Kind::shuffled) {
      b = (n + current_order().seed * 7919) % blocks;
      if (current_order().seed % 2 == 1) b = blocks - 1 - b;
    }
    blockIdx = uint3{static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                     static_cast<unsigned>(b / grid.x / grid.y)};
    std::memset(dynamic_shared, poison, shared_bytes + shared_fence);
    try {
      run_block(m);
    } catch (...) {
      m.current = nullptr;
      throw;
    }
    for (std::size_t i = 0; i < shared_fence; ++i) {
      if (dynamic_shared[shared_bytes + i] != poison) {
        throw std::runtime_error("emulator: block " + name_of(blockIdx) + " wrote byte " +
                                 std::to_string(shared_bytes + i) + " of its " + std::to_string(shared_bytes) +
                                 " bytes of dynamic shared memory");
      }
    }
  }
  check_fences();
}

std::uint32_t shared_offset(const void* p) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(p) -
                                    reinterpret_cast<std::uintptr_t>(dynamic_shared));
}

bool in_kernel() {
  return machine().current != nullptr;
}

}  // namespace hylas::emulator
