// Paths of checkpoints and the removal of old ones.
#include "search/run/checkpoint_files.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "search/run/controller.hpp"

namespace hylas::search {

namespace fs = std::filesystem;

namespace {

// Of step-N.safetensors, and of no other name.
std::optional<std::int64_t> step_of(const std::string& name) {
  constexpr std::string_view before = "step-", after = ".safetensors";
  if (!name.starts_with(before) || !name.ends_with(after)) return std::nullopt;
  const char* const end = name.data() + name.size() - after.size();
  std::int64_t step = 0;
  const auto [stopped, error] = std::from_chars(name.data() + before.size(), end, step);
  if (error != std::errc() || stopped != end || step < 0) return std::nullopt;
  return step;
}

}  // namespace

fs::path checkpoint_directory(const fs::path& database) {
  return fs::path(database.string() + ".checkpoints");
}

std::string CheckpointFiles::relative_path(const std::string& trial_key, std::int64_t step) {
  return trial_key + "/step-" + std::to_string(step) + ".safetensors";
}

fs::path CheckpointFiles::prepare(const std::string& relative) const {
  fs::path file = directory_ / relative;
  fs::create_directories(file.parent_path());
  return file;
}

fs::path CheckpointFiles::find(const std::string& relative) const {
  const fs::path path(relative);
  if (relative.empty() || path.is_absolute()) return {};
  for (const fs::path& part : path) {
    if (part == "..") return {};
  }
  return directory_ / path;
}

std::vector<KeptCheckpoint> CheckpointFiles::list(const std::string& trial_key) const {
  std::vector<KeptCheckpoint> found;
  std::error_code error;
  for (fs::directory_iterator file(directory_ / trial_key, error), end; !error && file != end; file.increment(error)) {
    const std::optional<std::int64_t> step = step_of(file->path().filename().string());
    if (step) found.push_back({*step, file->path()});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

void CheckpointFiles::remove_others(const std::string& trial_key, const std::string& keep,
                                    std::span<const std::int64_t> kept) const noexcept {
  try {
    const auto stays = [&](const fs::path& file) {
      const std::optional<std::int64_t> step = step_of(file.filename().string());
      return file == directory_ / keep || (step && std::find(kept.begin(), kept.end(), *step) != kept.end());
    };
    std::error_code error;
    std::vector<fs::path> old;
    for (fs::directory_iterator file(directory_ / trial_key, error), end; !error && file != end;
         file.increment(error)) {
      const std::string name = file->path().filename().string();
      if (name.starts_with("step-") && !stays(file->path())) old.push_back(file->path());
    }
    for (const fs::path& file : old) fs::remove(file, error);
    if (keep.empty()) fs::remove(directory_ / trial_key, error);
  } catch (const std::exception&) {
    // Only memory can fail here; the next checkpoint of the trial tries again.
  }
}

}  // namespace hylas::search
