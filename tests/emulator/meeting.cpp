// Where threads wait for each other: collectives of a warp, barriers of a block; and the copies that they wait for.
#include <bit>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "cuda_runtime.h"
#include "tests/emulator/machine.hpp"

namespace hylas::emulator {

void meet_warp(WarpCall& call) {
  Machine& m = machine();
  Thread& self = *m.current;
  Warp& warp = m.warp_of(self);
  const unsigned me = self.number % warp_size;
  const std::uint32_t mask = call.mask & warp.existing;
  if ((mask >> me & 1) == 0) fail(std::string(call.name) + ": the calling lane is not in the mask");
  if ((mask & warp.done) != 0) {
    fail(std::string(call.name) + " at " + text_of(call.where) + ": lane " +
         std::to_string(std::countr_zero(mask & warp.done)) + " of the mask has returned");
  }
  unsigned g = 0;
  for (; g < warp.groups; ++g) {
    const Group& other = warp.open[g];
    if (other.finish == call.finish && other.mask == mask && (other.arrived >> me & 1) == 0) break;
  }
  Group& group = warp.open[g];
  if (g == warp.groups) {
    ++warp.groups;
    group.finish = call.finish;
    group.mask = mask;
    group.arrived = 0;
  }
  group.arrived |= 1U << me;
  group.calls[me] = &call;
  if (group.arrived != mask) {
    self.mask = mask;
    wait(State::in_warp, call.name, call.where);
    return;
  }
  call.finish(group.calls, mask);
  if (g != --warp.groups) group = warp.open[warp.groups];
  const std::uint32_t others = mask & ~(1U << me);
  for (std::uint32_t rest = others; rest != 0; rest &= rest - 1) {
    m.threads[self.number - me + static_cast<unsigned>(std::countr_zero(rest))]->state = State::ready;
  }
  warp.ready |= others;
}

int meet_block(Vote vote, bool predicate, const char* name, const Where& where) {
  Machine& m = machine();
  Thread& self = *m.current;
  self.vote = vote;
  self.predicate = predicate;
  if (++m.arrived < m.count) {
    wait(State::in_block, name, where);
    return m.vote_result;
  }
  self.where = where;
  int sum = 0;
  for (unsigned i = 0; i < m.count; ++i) {
    Thread& t = *m.threads[i];
    if (t.vote != vote || t.where.line() != where.line() || std::strcmp(t.where.file_name(), where.file_name()) != 0) {
      fail(std::string(name) + " at " + text_of(where) + " meets another barrier, where thread " + std::to_string(i) +
           " waits, at " + text_of(t.where));
    }
    sum += t.predicate ? 1 : 0;
    if (&t != &self) m.make_ready(t);
  }
  m.arrived = 0;
  const int all = static_cast<int>(m.count);
  m.vote_result = vote == Vote::count ? sum : vote == Vote::all ? sum == all : vote == Vote::any ? sum > 0 : 0;
  return m.vote_result;
}

void meet_named(int barrier, int threads, const Where& where) {
  Machine& m = machine();
  Thread& self = *m.current;
  if (barrier < 1 || barrier > 15 || threads < 1 || threads % static_cast<int>(warp_size) != 0) {
    fail("named barrier " + std::to_string(barrier) + " of " + std::to_string(threads) + " threads");
  }
  self.barrier = barrier;
  self.barrier_threads = threads;
  int present = 1;
  for (unsigned i = 0; i < m.count; ++i) {
    const Thread& t = *m.threads[i];
    if (t.state != State::in_named || t.barrier != barrier) continue;
    if (t.barrier_threads != threads) fail("named barrier " + std::to_string(barrier) + " with two numbers of threads");
    ++present;
  }
  if (present < threads) {
    wait(State::in_named, "a named barrier", where);
    return;
  }
  for (unsigned i = 0; i < m.count; ++i) {
    Thread& t = *m.threads[i];
    if (t.state == State::in_named && t.barrier == barrier) m.make_ready(t);
  }
}

unsigned lane() {
  return machine().current->number % warp_size;
}

std::uint32_t living_lanes() {
  Machine& m = machine();
  const Warp& warp = m.warp_of(*m.current);
  return warp.existing & ~warp.done;
}

void copy_issue(void* shared, const void* global, unsigned bytes, unsigned filled, const Where& where) {
  const auto to = reinterpret_cast<std::uintptr_t>(shared);
  const auto from = reinterpret_cast<std::uintptr_t>(global);
  if (to % bytes != 0 || from % bytes != 0) {
    fail("asynchronous copy of " + std::to_string(bytes) + " bytes at " + text_of(where) + ": the address of the " +
         (to % bytes != 0 ? "shared" : "global") + " memory is not aligned");
  }
  Thread& self = *machine().current;
  std::memset(shared, poison, bytes);
  self.copies.push_back({shared, global, bytes, filled, self.committed});
}

void copy_commit() {
  ++machine().current->committed;
}

void copy_wait(int pending) {
  Thread& self = *machine().current;
  // wait_group 0 waits for committed groups only, as others do: a copy outside of any group stays under way.
  const std::int64_t until = self.committed - pending;
  std::size_t done = 0;
  for (; done < self.copies.size() && self.copies[done].group < until; ++done) {
    const Copy& c = self.copies[done];
    std::memcpy(c.to, c.from, c.filled);
    std::memset(static_cast<unsigned char*>(c.to) + c.filled, 0, c.bytes - c.filled);
  }
  self.copies.erase(self.copies.begin(), self.copies.begin() + static_cast<std::ptrdiff_t>(done));
}

void fail(const std::string& message) {
  Machine& m = machine();
  if (m.current == nullptr) throw std::runtime_error("emulator: a device function outside of a kernel: " + message);
  m.failure = message;
  switch_fiber(m.current->context, m.host);
  std::abort();  // a failed launch is never resumed
}

}  // namespace hylas::emulator
