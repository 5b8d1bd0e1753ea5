// Paths of checkpoints and the removal of old ones.
#include "search/run/checkpoint_files.hpp"

#include <system_error>
#include <vector>

#include "search/run/controller.hpp"

namespace hylas::search {

namespace fs = std::filesystem;

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

void CheckpointFiles::remove_others(const std::string& trial_key, const std::string& keep) const noexcept {
  try {
    std::error_code error;
    std::vector<fs::path> old;
    for (fs::directory_iterator file(directory_ / trial_key, error), end; !error && file != end;
         file.increment(error)) {
      const std::string name = file->path().filename().string();
      if (name.starts_with("step-") && file->path() != directory_ / keep) old.push_back(file->path());
    }
    for (const fs::path& file : old) fs::remove(file, error);
    if (keep.empty()) fs::remove(directory_ / trial_key, error);
  } catch (const std::exception&) {
    // Only memory can fail here; the next checkpoint of the trial tries again.
  }
}

}  // namespace hylas::search
