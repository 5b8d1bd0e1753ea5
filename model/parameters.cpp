// The layout of a trial's flat parameter block: matrices first, vectors after (see parameters.hpp).
#include "model/parameters.hpp"

#include <stdexcept>

namespace hylas::model {
namespace {

constexpr std::int64_t kTensorAlignment = 16;  // one cache line of fp32
constexpr std::int64_t kBlockAlignment = 64;   // so that element ranges can be cut without ragged vector tails

std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace

ParameterId ParameterTable::add_matrix(std::int64_t columns, const std::vector<Part>& parts,
                                       std::int64_t row_multiple) {
  if (frozen_) throw std::logic_error("ParameterTable: add after freeze");
  Parameter parameter{.columns = columns, .first_stored = stored_.size(), .stored_count = parts.size()};
  for (const Part& part : parts) {
    parameter.rows += part.rows;
    stored_.push_back({.name = part.name, .dims = {part.rows, columns}, .init = part.init});
  }
  parameter.rows = round_up(parameter.rows, row_multiple);
  parameters_.push_back(parameter);
  return {static_cast<int>(parameters_.size()) - 1};
}

ParameterId ParameterTable::add_conv(const std::string& name, std::int64_t channels, std::int64_t width) {
  const ParameterId id = add_matrix(width, {{name, channels, Init::conv}});
  stored_.back().dims = {channels, 1, width};
  return id;
}

ParameterId ParameterTable::add_vector(const std::string& name, std::int64_t n, Init init, int sink_layer) {
  if (frozen_) throw std::logic_error("ParameterTable: add after freeze");
  parameters_.push_back({.rows = 0, .columns = n, .first_stored = stored_.size(), .stored_count = 1});
  stored_.push_back({.name = name, .dims = {n}, .init = init, .sink_layer = sink_layer});
  return {static_cast<int>(parameters_.size()) - 1};
}

// Gives the matrices, or the vectors, their offsets; returns the end.
std::int64_t ParameterTable::place(bool matrices, std::int64_t offset) {
  for (Parameter& parameter : parameters_) {
    if ((parameter.rows > 0) != matrices) continue;
    parameter.offset = offset;
    std::int64_t at = offset;
    for (std::size_t i = 0; i < parameter.stored_count; ++i) {
      StoredWeight& weight = stored_[parameter.first_stored + i];
      weight.offset = at;
      at += weight.size();
    }
    offset = round_up(offset + parameter.elements(), kTensorAlignment);
  }
  return offset;
}

void ParameterTable::freeze() {
  if (frozen_) throw std::logic_error("ParameterTable: frozen twice");
  decay_count_ = place(true, 0);
  size_ = round_up(place(false, decay_count_), kBlockAlignment);
  frozen_ = true;
}

kernels::Tensor ParameterTable::view(const kernels::Tensor& block, ParameterId id) const {
  if (!frozen_ || !id.defined()) throw std::logic_error("ParameterTable: view before freeze, or of no parameter");
  const Parameter& parameter = parameters_[static_cast<std::size_t>(id.index)];
  auto* data = static_cast<char*>(block.data()) + parameter.offset * kernels::size_of(block.dtype());
  kernels::Tensor t =
      parameter.rows > 0
          ? kernels::Tensor(data, block.dtype(), {block.trials(), parameter.rows, parameter.columns}, block.device())
          : kernels::Tensor(data, block.dtype(), {block.trials(), parameter.columns}, block.device());
  return t.set_trial_stride(block.trial_stride());
}

kernels::Tensor ParameterTable::view(const Weights& weights, ParameterId id) const {
  const bool matrix = id.defined() && parameters_[static_cast<std::size_t>(id.index)].rows > 0;
  return view(matrix ? weights.matrices : weights.vectors, id);
}

}  // namespace hylas::model
