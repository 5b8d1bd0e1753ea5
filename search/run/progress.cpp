// Reporter: the three ways to say how far a sweep is.
#include "search/run/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace hylas::search {
namespace {

constexpr double redraw_seconds = 0.2;
constexpr double text_seconds = 10;

std::string scaled(double value) {
  for (const auto& [size, unit] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (value >= size) return fmt::format("{:.3g}{}", value / size, unit);
  }
  return fmt::format("{:.0f}", value);
}

}  // namespace

Progress default_progress() {
  return isatty(STDERR_FILENO) == 1 ? Progress::terminal : Progress::text;
}

std::string duration_text(double seconds) {
  const auto whole = std::int64_t{std::llround(std::max(0.0, seconds))};
  if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

Reporter::Reporter(Progress mode, std::FILE* stream) : mode_(mode), stream_(stream) {}

void Reporter::start(std::int64_t trials, std::int64_t finished, double flops) {
  const std::scoped_lock lock(mutex_);
  trials_ = trials;
  finished_ = finished;
  flops_left_ = flops;
  if (mode_ == Progress::jsonl) {
    line(nlohmann::json{{"event", "start"}, {"trials", trials}, {"already_finished", finished}}.dump());
  } else if (mode_ != Progress::none) {
    line(finished > 0 ? fmt::format("sweep: {} trials, {} of them finished before", trials, finished)
                      : fmt::format("sweep: {} trials", trials));
  }
}

void Reporter::plan(int worker, const std::string& text) {
  const std::scoped_lock lock(mutex_);
  if (mode_ == Progress::none || mode_ == Progress::jsonl || plans_[worker] == text) return;
  plans_[worker] = text;
  line("sweep: " + text);
}

void Reporter::cohort(int worker, std::size_t trials, std::int64_t steps) {
  const std::scoped_lock lock(mutex_);
  cohorts_[worker] = {.active = trials, .step = 0, .steps = steps};
  draw();
}

void Reporter::idle(int worker) {
  const std::scoped_lock lock(mutex_);
  cohorts_.erase(worker);
}

void Reporter::advance(int worker, std::int64_t step, std::size_t active, std::int64_t tokens, double flops) {
  const std::scoped_lock lock(mutex_);
  cohorts_[worker].step = step;
  cohorts_[worker].active = active;
  tokens_ += tokens;
  flops_done_ += flops;
  flops_left_ = std::max(0.0, flops_left_ - flops);
  draw();
}

void Reporter::finished(double flops) {
  const std::scoped_lock lock(mutex_);
  ++finished_;
  flops_left_ = std::max(0.0, flops_left_ - flops);
}

void Reporter::commit(const CommitNews& news) {
  const std::scoped_lock lock(mutex_);
  if (mode_ != Progress::jsonl) return;
  line(nlohmann::json{{"event", "commit"},
                      {"step", news.step},
                      {"tokens", news.tokens},
                      {"trials", news.trials},
                      {"checkpoints", news.checkpoints},
                      {"finished", news.finished}}
           .dump());
}

void Reporter::warn(const std::string& message) {
  const std::scoped_lock lock(mutex_);
  if (mode_ == Progress::jsonl) {
    const auto replace = nlohmann::json::error_handler_t::replace;
    line(nlohmann::json{{"event", "warning"}, {"message", message}}.dump(-1, ' ', false, replace));
  } else if (mode_ != Progress::none) {
    line("hylas: warning: " + message);
  }
}

void Reporter::end(const std::string& message) {
  const std::scoped_lock lock(mutex_);
  if (mode_ == Progress::jsonl) {
    line(nlohmann::json{{"event", "end"}, {"message", message}}.dump());
  } else if (mode_ != Progress::none) {
    line("sweep: " + message);
  }
}

std::string Reporter::status_line() const {
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  std::size_t active = 0;
  std::string steps;
  for (const auto& [worker, cohort] : cohorts_) {
    active += cohort.active;
    steps += fmt::format("{}{}/{}", steps.empty() ? " at step " : ", ", cohort.step, cohort.steps);
  }
  std::string text = fmt::format("{}/{} trials finished, {} training{}", finished_, trials_, active, steps);
  if (seconds > 0 && tokens_ > 0) text += fmt::format(", {} tokens/s", scaled(static_cast<double>(tokens_) / seconds));
  if (flops_done_ > 0 && flops_left_ > 0) {
    text += fmt::format(", at most {} left", duration_text(flops_left_ / flops_done_ * seconds));
  }
  return text;
}

void Reporter::draw() {
  if (mode_ != Progress::terminal && mode_ != Progress::text) return;
  const auto now = Clock::now();
  const double pause = mode_ == Progress::terminal ? redraw_seconds : text_seconds;
  if (drawn_ == Clock::time_point{}) drawn_ = mode_ == Progress::terminal ? drawn_ : started_;
  if (std::chrono::duration<double>(now - drawn_).count() < pause) return;
  drawn_ = now;
  if (mode_ == Progress::text) {
    line(status_line());
    return;
  }
  const std::string text = "\r\x1b[K" + status_line();
  std::fwrite(text.data(), 1, text.size(), stream_);
  std::fflush(stream_);
  on_line_ = true;
}

void Reporter::line(const std::string& text) {
  const std::string whole = (on_line_ ? "\n" : "") + text + "\n";
  on_line_ = false;
  std::fwrite(whole.data(), 1, whole.size(), stream_);
  std::fflush(stream_);
}

}  // namespace hylas::search
