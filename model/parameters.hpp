// ParameterTable: where each weight of a proxy lies in its trial's flat block, and under which name it is stored.
//
// All parameters of a trial are one contiguous block of size() elements; a cohort holds blocks [P, N] for weights and
// the same for gradients and AdamW's two moments. Matrices (embedding, projections, convolutions, untied head) come
// first, vectors (norms, biases, sinks) after: decay_count(), the length of the matrix part, is what kernels/adamw.hpp
// wants. Every
// tensor starts at a multiple of 16 elements and N is a multiple of 64; the padding is zero and stays zero.
//
// A parameter can be several stored weights on top of each other: q, k and v are consecutive rows of one fused matrix,
// gate and up of another. Names and row order are those of Hugging Face (SmolLM3; for recurrent mixers the module that
// model/mixer/ names), so a checkpoint is a plain copy.
//
// Use: declare with add_matrix/add_vector, then freeze(), then view() and stored(). Errors: std::logic_error for a
// wrong order of calls. Thread-safety: const after freeze().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/tensor.hpp"

namespace hylas::model {

// How a weight starts (model/init.hpp gives the numbers).
enum class Init : std::uint8_t { embedding, fan_in, output, one, zero, conv, a_log, dt_bias };

// One weight as it is stored in a file.
struct StoredWeight {
  std::string name;
  std::vector<std::int64_t> dims;  // {out, in}, {channels, 1, width} or {n}
  std::int64_t offset = 0;         // elements from the start of the trial's block
  Init init = Init::zero;
  int sink_layer = -1;  // >= 0: exists only for trials whose layer of this index has a sink

  [[nodiscard]] std::int64_t size() const {
    std::int64_t n = 1;
    for (auto d : dims) n *= d;
    return n;
  }
};

// A declared parameter: a handle for ParameterTable::view().
struct ParameterId {
  int index = -1;
  [[nodiscard]] bool defined() const { return index >= 0; }
};

// Blocks [P, N] that a proxy reads its weights from: matrices from one, vectors (norms, sinks) from the other. They are
// the same block except for bf16, where matrices are rounded copies and vectors stay f32.
struct Weights {
  kernels::Tensor matrices, vectors;
  Weights(const kernels::Tensor& both) : matrices(both), vectors(both) {}  // NOLINT: one block is the usual case
  Weights(const kernels::Tensor& m, const kernels::Tensor& v) : matrices(m), vectors(v) {}
};

class ParameterTable {
 public:
  struct Part {  // consecutive rows of a matrix
    std::string name;
    std::int64_t rows = 0;
    Init init = Init::fan_in;
  };

  // row_multiple: zero rows follow the parts until the rows are a multiple of it. They belong to no stored weight; what
  // uses the matrix keeps their gradient zero, so that they stay zero.
  ParameterId add_matrix(std::int64_t columns, const std::vector<Part>& parts, std::int64_t row_multiple = 1);
  // A depthwise convolution over time: a matrix [channels, width], stored as {channels, 1, width}.
  ParameterId add_conv(const std::string& name, std::int64_t channels, std::int64_t width);
  ParameterId add_vector(const std::string& name, std::int64_t n, Init init, int sink_layer = -1);
  void freeze();

  [[nodiscard]] std::int64_t size() const { return size_; }                // N
  [[nodiscard]] std::int64_t decay_count() const { return decay_count_; }  // the matrix part
  // In the order of declaration; offsets are valid after freeze().
  [[nodiscard]] const std::vector<StoredWeight>& stored() const { return stored_; }
  // The parameter inside a block [P, N]: [P, out, in] for a matrix, [P, n] for a vector.
  [[nodiscard]] kernels::Tensor view(const kernels::Tensor& block, ParameterId id) const;
  [[nodiscard]] kernels::Tensor view(const Weights& weights, ParameterId id) const;

 private:
  struct Parameter {
    std::int64_t rows = 0;  // 0: a vector
    std::int64_t columns = 0;
    std::int64_t offset = 0;
    std::size_t first_stored = 0;
    std::size_t stored_count = 0;
    [[nodiscard]] std::int64_t elements() const { return (rows == 0 ? 1 : rows) * columns; }
  };
  std::int64_t place(bool matrices, std::int64_t offset);

  std::vector<Parameter> parameters_;
  std::vector<StoredWeight> stored_;
  std::int64_t size_ = 0;
  std::int64_t decay_count_ = 0;
  bool frozen_ = false;
};

}  // namespace hylas::model
