// The files of checkpoints: <db>.checkpoints/<trial_key>/step-N.safetensors. Where they are, and dropping old ones.
//
// Order of things: the file is written (model::Cohort::save: synced, renamed), then its row is committed, then older
// files are removed. So a row always has its file, and a crash leaves at most files without a row, which the next
// removal takes. With sweep --keep-checkpoints the files of evaluations stay; the row is the last one's, the others are
// found by name. Thread-safety: whoever holds the claim of a trial is the only one to touch its directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace hylas::search {

// A checkpoint's file.
struct KeptCheckpoint {
  std::int64_t step = 0;
  std::filesystem::path file;
};

class CheckpointFiles {
 public:
  explicit CheckpointFiles(std::filesystem::path directory) : directory_(std::move(directory)) {}

  // Relative to the directory, as the store keeps it.
  [[nodiscard]] static std::string relative_path(const std::string& trial_key, std::int64_t step);
  // Where to write it; makes the trial's directory. Throws std::filesystem::filesystem_error.
  [[nodiscard]] std::filesystem::path prepare(const std::string& relative) const;
  // Where to read it. A path that leads out of the directory is refused ("" comes back): the store may be from
  // anywhere.
  [[nodiscard]] std::filesystem::path find(const std::string& relative) const;
  // The trial's checkpoints that are there, by step. A file that is being written has another name.
  [[nodiscard]] std::vector<KeptCheckpoint> list(const std::string& trial_key) const;
  // Removes the trial's checkpoints but `keep` (a relative path; "" keeps none) and those of the steps `kept`. Never
  // throws: leftovers are harmless.
  void remove_others(const std::string& trial_key, const std::string& keep,
                     std::span<const std::int64_t> kept = {}) const noexcept;

 private:
  std::filesystem::path directory_;
};

}  // namespace hylas::search
