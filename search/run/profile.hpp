// Where the time of a sweep went: training, evaluation, store, checkpoints, other. Printed by `sweep --profile`.
// Units: seconds of a worker's wall clock, added up over the workers. Thread-safety: plain data.
#pragma once

#include <chrono>
#include <string>

namespace hylas::search {

struct Profile {
  double training = 0;
  double evaluation = 0;
  double store = 0;
  double checkpoints = 0;
  double total = 0;

  void add(const Profile& worker);
  [[nodiscard]] double other() const;  // planning, set-up of cohorts, progress
  // (total - training - evaluation) / total: what the controller itself costs.
  [[nodiscard]] double overhead_share() const;
  [[nodiscard]] std::string text() const;  // a small table for people
};

// Adds the life of this object to one field of a profile.
class Timed {
 public:
  explicit Timed(double& seconds) : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~Timed() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace hylas::search
