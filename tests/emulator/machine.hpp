// What the emulator knows of the block that runs: its threads, where each waits, who is ready. Shared by emulator.cpp
// (who runs when) and meeting.cpp (who waits for whom).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/emulator/emulator.hpp"
#include "tests/emulator/fiber.hpp"

namespace hylas::emulator {

enum class State : std::uint8_t { ready, in_warp, in_block, in_named, done };

struct Copy {
  void* to;
  const void* from;
  unsigned bytes, filled;
  std::int64_t group;
};

struct Thread {
  FiberContext context;
  uint3 index{};
  unsigned number = 0;  // in the block
  State state = State::done;
  Vote vote = Vote::none;  // while in_block
  bool predicate = false;
  int barrier = 0, barrier_threads = 0;  // while in_named
  const char* waits_for = "";
  std::uint32_t mask = 0;  // while in_warp
  Where where;
  std::vector<Copy> copies;    // not yet carried out, oldest first
  std::int64_t committed = 0;  // groups
};

// A collective that some lanes have arrived at.
struct Group {
  WarpCall::Finish finish;
  std::uint32_t mask, arrived;
  WarpCall* calls[warp_size];  // set for the lanes that have arrived
};

struct Warp {
  std::uint32_t existing = 0, ready = 0, done = 0;  // lanes
  unsigned groups = 0;
  std::unique_ptr<Group[]> open = std::make_unique<Group[]>(warp_size);
};

struct Machine {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  FiberStacks stacks;
  FiberContext host;
  Thread* current = nullptr;
  unsigned count = 0;  // threads of a block
  unsigned arrived = 0, finished = 0;
  int vote_result = 0;
  Order::Kind kind = Order::Kind::ascending;
  std::string failure;
  const std::function<void()>* kernel = nullptr;
  std::mt19937_64 random;

  Warp& warp_of(const Thread& t) { return warps[t.number / warp_size]; }
  void make_ready(Thread& t) {
    t.state = State::ready;
    warp_of(t).ready |= 1U << t.number % warp_size;
  }
};

extern constinit thread_local Machine* this_machine;
Machine& make_machine();

// The machine of this host thread.
inline Machine& machine() {
  return this_machine != nullptr ? *this_machine : make_machine();
}

// The running thread waits in `name` until somebody makes it ready.
void wait(State state, const char* name, const Where& where);

inline std::string text_of(const Where& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

}  // namespace hylas::emulator
