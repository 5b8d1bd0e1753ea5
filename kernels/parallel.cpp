// ThreadPool: see kernels/parallel.hpp. One job at a time; threads sleep between jobs.
#include "kernels/parallel.hpp"

#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace hylas::kernels {

namespace {

int machine_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

struct ThreadPool::State {
  std::vector<Context> contexts;  // [0]: the calling thread's
  std::vector<std::thread> threads;

  std::mutex mutex;
  std::condition_variable started, ended;
  bool stop = false;
  bool running = false;
  std::uint64_t job = 0;  // counts runs: a thread joins each once
  const std::function<void(std::int64_t, Context&)>* body = nullptr;
  std::int64_t items = 0, next = 0;
  std::size_t working = 0;        // threads that have not ended this job
  std::int64_t failed_item = -1;  // the lowest that threw, and what
  std::exception_ptr error;

  // Takes items until none is left.
  void work(Context& ctx) {
    for (;;) {
      std::int64_t item = 0;
      {
        const std::lock_guard lock(mutex);
        if (next >= items) return;
        item = next++;
      }
      try {
        (*body)(item, ctx);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (error == nullptr || item < failed_item) {
          error = std::current_exception();
          failed_item = item;
        }
      }
    }
  }

  void serve(Context& ctx) {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex);
        started.wait(lock, [&] { return stop || job != seen; });
        if (stop) return;
        seen = job;
      }
      work(ctx);
      const std::lock_guard lock(mutex);
      if (--working == 0) ended.notify_one();
    }
  }

  void end() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    started.notify_all();
    for (auto& t : threads) t.join();
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int count = threads < 1 ? machine_threads() : threads;
  state_->contexts.resize(static_cast<std::size_t>(count));
  try {
    for (std::size_t i = 1; i < state_->contexts.size(); ++i) {
      state_->threads.emplace_back([s = state_.get(), i] { s->serve(s->contexts[i]); });
    }
  } catch (...) {
    state_->end();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  state_->end();
}

int ThreadPool::size() const {
  return static_cast<int>(state_->contexts.size());
}

void ThreadPool::run(std::int64_t items, const std::function<void(std::int64_t, Context&)>& body) {
  State& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    if (s.running) throw std::logic_error("ThreadPool::run: called while it runs, from an item or another thread");
    s.running = true;
    s.body = &body;
    s.items = items;
    s.next = 0;
    s.working = s.threads.size();
    s.error = nullptr;
    ++s.job;
  }
  s.started.notify_all();
  s.work(s.contexts[0]);
  std::unique_lock lock(s.mutex);
  s.ended.wait(lock, [&] { return s.working == 0; });
  s.running = false;
  if (const std::exception_ptr error = std::exchange(s.error, nullptr)) {
    lock.unlock();
    std::rethrow_exception(error);
  }
}

Context& ThreadPool::main_context() {
  return state_->contexts[0];
}

std::size_t ThreadPool::arena_bytes() const {
  std::size_t bytes = 0;
  for (const Context& c : state_->contexts) bytes += c.arena.capacity();
  return bytes;
}

}  // namespace hylas::kernels
