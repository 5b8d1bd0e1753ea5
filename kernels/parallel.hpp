// ThreadPool: runs independent work items on a fixed number of threads, each item with the Context of the thread it
// runs on. The only place of the CPU backend that starts threads.
//
// Which thread takes an item is not fixed, so an item must write only to its own outputs; results must not depend on
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/context.hpp"

namespace hylas::kernels {

class ThreadPool {
 public:
  // threads < 1: as many as the machine (or the process's affinity mask) has.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const;
  // Calls body(item, context) for every item in [0, items) and returns when all are done; items are handed out in
  // order. The calling thread works too. The first exception thrown by an item is rethrown here, after all have ended.
  void run(std::int64_t items, const std::function<void(std::int64_t, Context&)>& body);
  // The Context of thread 0, for work on the calling thread between runs.
  [[nodiscard]] Context& main_context();
  // Bytes held by the arenas of all threads.
  [[nodiscard]] std::size_t arena_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hylas::kernels
