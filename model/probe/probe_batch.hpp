// ProbeBatch: what P interventions change in every layer, as the data that a forward pass reads. In host memory, or in
// a GPU's after it was moved there.
//
// The tensors that layers() hands out live in the arena, up to its owner's next rewind. Thread-safety: none needed.
#pragma once

#include <span>
#include <vector>

#include "kernels/context.hpp"
#include "model/probe/intervention.hpp"
#include "model/proxy.hpp"

namespace hylas::model {

class ProbeBatch {
 public:
  // Takes memory of ctx.arena and fills it.
  ProbeBatch(kernels::Context& ctx, std::span<const Intervention> interventions, const Shape& shape);

  [[nodiscard]] const LayoutData& layout() const { return layout_; }
  [[nodiscard]] std::span<const AttentionProbe> layers() const { return layers_; }

 private:
  LayoutData layout_;
  std::vector<AttentionProbe> layers_;
};

// i32 values in memory of the Context's device, as a tensor of these dims.
[[nodiscard]] kernels::Tensor place(kernels::Context& ctx, std::span<const std::int32_t> values,
                                    std::initializer_list<std::int64_t> dims);

}  // namespace hylas::model
