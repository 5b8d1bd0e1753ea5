// Interventions as tensors (see probe_batch.hpp).
#include "model/probe/probe_batch.hpp"

#include <algorithm>

#include "kernels/cuda/runtime.hpp"

namespace hylas::model {
namespace {

LayoutData layout_of(std::span<const Intervention> interventions, std::int64_t context) {
  std::vector<const Layout*> layouts;
  for (const Intervention& one : interventions) layouts.push_back(&one.layout);
  return {layouts, context};
}

}  // namespace

kernels::Tensor place(kernels::Context& ctx, std::span<const std::int32_t> values,
                      std::initializer_list<std::int64_t> dims) {
  const kernels::Tensor to = ctx.arena.tensor(kernels::DType::i32, dims);
  if (ctx.device.kind == kernels::DeviceKind::cpu) {
    std::copy(values.begin(), values.end(), to.trial<std::int32_t>());
  } else {
    kernels::cuda::upload(to.data(), values.data(), values.size_bytes(), ctx.device.index);
  }
  return to;
}

ProbeBatch::ProbeBatch(kernels::Context& ctx, std::span<const Intervention> interventions, const Shape& shape)
    : layout_(layout_of(interventions, shape.context)) {
  const auto P = static_cast<std::int64_t>(interventions.size());
  const Layout& first = interventions.front().layout;
  if (ctx.device.kind == kernels::DeviceKind::cuda) {
    layout_.move_to(place(ctx, layout_.values(), {static_cast<std::int64_t>(layout_.values().size())}));
  }
  std::int64_t at = 0;  // heads of the layers before
  for (std::size_t i = 0; i < first.layers.size(); ++i) {
    AttentionProbe& layer = layers_.emplace_back();
    if (!is_attention(first.layers[i].mixer)) continue;
    std::vector<std::int32_t> first_keys, head_on;
    for (const Intervention& one : interventions) {
      first_keys.push_back(one.first_keys[i]);
      const auto begin = one.head_on.begin() + at;
      head_on.insert(head_on.end(), begin, begin + shape.heads);
    }
    layer.masked = true;
    layer.first_keys = place(ctx, first_keys, {P});
    layer.head_on = place(ctx, head_on, {P, shape.heads});
    at += shape.heads;
  }
}

}  // namespace hylas::model
