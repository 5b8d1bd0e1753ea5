// Reporter: what a sweep says on stderr while it runs. One line that redraws itself on a terminal, a line now and then
// elsewhere, or one JSON object a line after each COMMIT (what such a line names is on disk and stays there).
//
// JSON lines: {"event": "start"|"commit"|"end", ...}; a commit has "step", "tokens", "trials" (keys with points at that
// step), "checkpoints" (keys) and "finished" {key: state}. Uses no colours, so NO_COLOR has nothing to switch off.
// Thread-safety: all workers of a sweep share one Reporter; calls wait for each other.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "search/run/controller.hpp"

namespace hylas::search {

// What one transaction made durable.
struct CommitNews {
  std::int64_t step = 0;
  std::int64_t tokens = 0;                      // of one trial, at that step
  std::vector<std::string> trials;              // trial keys with new points
  std::vector<std::string> checkpoints;         // trial keys with a new checkpoint
  std::map<std::string, std::string> finished;  // trial key: state
};

class Reporter {
 public:
  Reporter(Progress mode, std::FILE* stream = stderr);

  // flops: of all trials of this sweep that are still to be trained, if none stops early.
  void start(std::int64_t trials, std::int64_t finished, double flops);
  // What is planned for a worker's next cohort; said where it is news. Not among the JSON lines.
  void plan(int worker, const std::string& text);
  void cohort(int worker, std::size_t trials, std::int64_t steps);
  // After a slice of training: where the worker's cohort stands, and what was done since the last call.
  void advance(int worker, std::int64_t step, std::size_t active, std::int64_t tokens, double flops);
  void idle(int worker);  // its cohort has ended
  // A trial ended; `flops` will not be trained any more.
  void finished(double flops);
  void commit(const CommitNews& news);
  void warn(const std::string& message);
  void end(const std::string& message);

 private:
  using Clock = std::chrono::steady_clock;
  void draw();
  void line(const std::string& text);  // whole, flushed
  [[nodiscard]] std::string status_line() const;

  struct Cohort {
    std::size_t active = 0;
    std::int64_t step = 0, steps = 0;
  };

  std::mutex mutex_;
  Progress mode_;
  std::FILE* stream_;
  Clock::time_point started_ = Clock::now();
  Clock::time_point drawn_{};
  bool on_line_ = false;  // an unfinished terminal line stands there
  std::int64_t trials_ = 0, finished_ = 0, tokens_ = 0;
  std::map<int, Cohort> cohorts_;     // by worker, those in training
  std::map<int, std::string> plans_;  // by worker, the last one said
  double flops_done_ = 0, flops_left_ = 0;
};

// "1h02m", "3m20s", "12s"
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace hylas::search
