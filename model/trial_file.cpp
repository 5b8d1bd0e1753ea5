// Trials to and from checkpoint files (see trial_file.hpp).
#include "model/trial_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/runtime.hpp"
#include "model/checkpoint.hpp"

namespace hylas::model {
namespace {

constexpr const char* kKeyField = "hylas.trial_key";
constexpr const char* kStepField = "hylas.step";
constexpr const char* kLastLossField = "hylas.last_loss";
constexpr const char* kLossSumField = "hylas.train_loss_sum";
constexpr const char* kPositionsField = "hylas.train_positions";

// One of a trial's blocks, as host memory: a copy where the trial lives on a GPU.
struct Group {
  const char* prefix;
  kernels::Tensor block;
  std::vector<float> copy;

  Group(const char* name, const kernels::Tensor& tensor, bool read) : prefix(name), block(tensor) {
    if (!block.defined()) throw std::logic_error("a trial that has left its cohort has no weights to save or load");
    if (on_cpu()) return;
    copy.resize(static_cast<std::size_t>(block.size()));
    if (read) kernels::cuda::download(copy.data(), block.data(), copy.size() * sizeof(float), block.device().index);
  }
  [[nodiscard]] bool on_cpu() const { return block.device().kind == kernels::DeviceKind::cpu; }
  [[nodiscard]] float* data() { return on_cpu() ? block.trial<float>() : copy.data(); }
  void write() const {
    if (!on_cpu()) {
      kernels::cuda::upload(block.data(), copy.data(), copy.size() * sizeof(float), block.device().index);
    }
  }
};

std::array<Group, 3> groups(const TrialState& trial, bool read) {
  return {Group{"", trial.blocks.weights, read}, Group{"optimizer.m.", trial.blocks.m, read},
          Group{"optimizer.v.", trial.blocks.v, read}};
}

bool has(const TrialState& trial, const StoredWeight& weight) {
  return weight.sink_layer < 0 || trial.spec.design.layout.layers[static_cast<std::size_t>(weight.sink_layer)].sink;
}

// Metadata fields of one file, read with complaints that name the file.
class Fields {
 public:
  Fields(const CheckpointMetadata& metadata, const std::filesystem::path& file) : metadata_(metadata), file_(file) {}

  [[nodiscard]] const std::string& text(const char* name) const {
    const auto it = metadata_.find(name);
    if (it == metadata_.end()) fail(fmt::format("the metadata field '{}' is missing", name));
    return it->second;
  }
  [[nodiscard]] double real(const char* name) const {
    const std::string& value = text(name);
    char* end = nullptr;
    const double x = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0') fail(fmt::format("the metadata field '{}' is no number: '{}'", name, value));
    return x;
  }
  [[nodiscard]] std::int64_t count(const char* name) const {
    const std::string& value = text(name);
    char* end = nullptr;
    const std::int64_t n = std::strtoll(value.c_str(), &end, 10);
    if (value.empty() || *end != '\0' || n < 0) {
      fail(fmt::format("the metadata field '{}' is no count: '{}'", name, value));
    }
    return n;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(
        fmt::format("{}: {}; delete the file to train this trial from the start", file_.string(), what));
  }

 private:
  const CheckpointMetadata& metadata_;
  const std::filesystem::path& file_;
};

}  // namespace

void save_trial(const ParameterTable& table, const TrialState& trial, const std::filesystem::path& file) {
  std::vector<StoredTensor> tensors;
  auto blocks = groups(trial, true);
  for (Group& group : blocks) {
    for (const StoredWeight& weight : table.stored()) {
      if (!has(trial, weight)) continue;
      const float* data = group.data() + weight.offset;
      tensors.push_back({group.prefix + weight.name, weight.dims, {data, data + weight.size()}});
    }
  }
  save_checkpoint(file, tensors,
                  {{"format", "pt"},
                   {"hylas.design", trial.spec.design.canonical()},
                   {"hylas.recipe", trial.spec.recipe.canonical_json()},
                   {kKeyField, trial_key(trial.spec.design, trial.spec.recipe)},
                   {kStepField, std::to_string(trial.step)},
                   {kLastLossField, fmt::format("{:a}", trial.last_loss)},
                   {kLossSumField, fmt::format("{:a}", trial.train_loss_sum)},
                   {kPositionsField, std::to_string(trial.train_positions)}});
}

void load_trial(const ParameterTable& table, TrialState& trial, const std::filesystem::path& file) {
  const Checkpoint checkpoint = load_checkpoint(file);
  const Fields fields(checkpoint.metadata, file);
  const std::string key = trial_key(trial.spec.design, trial.spec.recipe);
  if (fields.text(kKeyField) != key) {
    fields.fail(fmt::format("it holds trial {}, not {}", fields.text(kKeyField), key));
  }
  const std::int64_t step = fields.count(kStepField), positions = fields.count(kPositionsField);
  const double last_loss = fields.real(kLastLossField), loss_sum = fields.real(kLossSumField);
  if (step > trial.spec.recipe.steps) {
    fields.fail(fmt::format("it is at step {} of {}", step, trial.spec.recipe.steps));
  }

  std::map<std::string, const StoredTensor*> found;
  for (const StoredTensor& tensor : checkpoint.tensors) found[tensor.name] = &tensor;
  const auto find = [&](const Group& group, const StoredWeight& weight) -> const StoredTensor& {
    const auto it = found.find(group.prefix + weight.name);
    if (it == found.end()) fields.fail(fmt::format("the tensor '{}{}' is missing", group.prefix, weight.name));
    if (it->second->dims != weight.dims) fields.fail(fmt::format("the tensor '{}' has other dimensions", it->first));
    return *it->second;
  };
  auto blocks = groups(trial, false);
  for (const bool copy : {false, true}) {  // check everything before the first byte is changed
    for (Group& group : blocks) {
      if (copy) std::fill_n(group.data(), table.size(), 0.0F);
      for (const StoredWeight& weight : table.stored()) {
        if (!has(trial, weight)) continue;
        const StoredTensor& tensor = find(group, weight);
        if (copy) std::copy(tensor.data.begin(), tensor.data.end(), group.data() + weight.offset);
      }
    }
  }
  for (const Group& group : blocks) group.write();
  trial.step = step;
  trial.last_loss = last_loss;
  trial.train_loss_sum = loss_sum;
  trial.train_positions = positions;
  trial.active = true;
  trial.diverged.reset();
}

}  // namespace hylas::model
