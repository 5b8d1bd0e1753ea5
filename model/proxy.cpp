// The proxy's forward and backward passes, written on the operators of kernels/ (see proxy.hpp).
#include "model/proxy.hpp"

#include <algorithm>
#include <utility>

#include "kernels/add_rmsnorm.hpp"
#include "kernels/broadcast_last.hpp"
#include "kernels/cuda/runtime.hpp"
#include "kernels/embed.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "kernels/memory.hpp"
#include "kernels/qkv_rope.hpp"
#include "kernels/stat_dtype.hpp"
#include "model/data/task.hpp"
#include "model/mixer/lightning.hpp"

namespace hylas::model {

using kernels::Context;
using kernels::Tensor;

LayoutData::LayoutData(std::span<const Layout* const> layouts, std::int64_t context)
    : trials_(static_cast<std::int64_t>(layouts.size())) {
  const std::size_t depth = layouts.front()->layers.size();
  values_.reserve(depth * 3 * layouts.size());
  for (std::size_t i = 0; i < depth; ++i) {
    for (const Layout* layout : layouts) {
      const Layer& layer = layout->layers[i];
      const bool windowed = layer.mixer == Mixer::swa;
      values_.push_back(static_cast<std::int32_t>(windowed ? std::min<std::int64_t>(layer.window, context) : context));
    }
    for (const Layout* layout : layouts) values_.push_back(layout->layers[i].rope ? 1 : 0);
    for (const Layout* layout : layouts) values_.push_back(layout->layers[i].sink ? 1 : 0);
  }
}

LayerData LayoutData::layer(int index) const {
  const bool here = !elsewhere_.defined();
  const kernels::Device device = here ? kernels::Device{} : elsewhere_.device();
  const auto* base = here ? values_.data() : static_cast<const std::int32_t*>(elsewhere_.data());
  const auto part = [&](int i) {
    auto* data = const_cast<std::int32_t*>(base + (index * 3 + i) * trials_);  // NOLINT: operators only read it
    return Tensor(data, kernels::DType::i32, {trials_}, device);
  };
  const auto sinks = values_.begin() + (index * 3 + 2) * trials_;
  const bool any_sink = std::any_of(sinks, sinks + trials_, [](std::int32_t on) { return on != 0; });
  return {.window = part(0), .rope_on = part(1), .sink_on = part(2), .any_sink = any_sink};
}

Head head_of(const TaskSpec& task) {
  return task_type(task.name).decodes_last ? Head::decoder : Head::next_token;
}

Proxy::Proxy(const Design& design, kernels::DType dtype, kernels::Device device, Head head) : tables_(device) {
  frame_.shape = design.shape;
  frame_.dtype = dtype;
  frame_.device = device;
  const Shape& s = frame_.shape;
  const Tensor position = make_tables(design.layout, head == Head::decoder);

  embedding_ = table_.add_matrix(s.d_model, {{"model.embed_tokens.weight", s.vocab, Init::embedding}});
  blocks_.reserve(design.layout.layers.size());
  for (int i = 0; i < design.depth(); ++i) {
    blocks_.emplace_back(design.layout.layers[static_cast<std::size_t>(i)].mixer, i, frame_, table_);
  }
  final_norm_ = table_.add_vector("model.norm.weight", s.d_model, Init::one);
  head_ = s.tied ? embedding_ : table_.add_matrix(s.d_model, {{"lm_head.weight", s.vocab, Init::fan_in}});
  // Last: the other weights start as those of a model without it.
  if (head == Head::decoder) decoder_.emplace(s, position, table_);
  table_.freeze();
}

Proxy::~Proxy() = default;

namespace {

bool has_lightning(const Layout& layout) {
  return std::any_of(layout.layers.begin(), layout.layers.end(),
                     [](const Layer& layer) { return layer.mixer == Mixer::lightning; });
}

// [layers, heads]
Tensor decay_table(kernels::Arena& arena, const Layout& layout, std::int64_t heads, kernels::DType dtype) {
  const std::int64_t depth = std::ssize(layout.layers);
  const Tensor table = arena.tensor(dtype, {depth, heads});
  for (std::int64_t i = 0; i < depth; ++i) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const double decay = lightning_decay(h, heads, i, depth);
      if (dtype == kernels::DType::f64) {
        table.trial<double>(i)[h] = decay;
      } else {
        table.trial<float>(i)[h] = static_cast<float>(decay);
      }
    }
  }
  return table;
}

}  // namespace

// Made on the host, in double, for every device the same.
Tensor Proxy::make_tables(const Layout& layout, bool positions) {
  const std::int64_t T = frame_.shape.context, half = frame_.shape.head_dim / 2;
  const kernels::DType dtype = kernels::stat_dtype(frame_.dtype);
  const bool here = tables_.device().kind == kernels::DeviceKind::cpu;
  kernels::Arena other;
  kernels::Arena& host = here ? tables_ : other;
  const auto keep = [&](const Tensor& made) {
    if (here) return made;
    const Tensor there = made.rank() == 2 ? tables_.tensor(dtype, {made.dim(0), made.dim(1)})
                                          : tables_.tensor(dtype, {1, T, made.dim(2)});
    const auto bytes = static_cast<std::size_t>(made.size() * kernels::size_of(dtype));
    kernels::cuda::upload(there.data(), made.data(), bytes, tables_.device().index);
    return there;
  };
  const Tensor cos = host.tensor(dtype, {1, T, half}), sin = host.tensor(dtype, {1, T, half});
  kernels::rope_table(frame_.shape.rope_theta, cos, sin);
  frame_.cos = keep(cos);
  frame_.sin = keep(sin);
  if (has_lightning(layout)) frame_.decay = keep(decay_table(host, layout, frame_.shape.heads, dtype));
  if (!positions) return {};
  const Tensor position = host.tensor(dtype, {1, T, frame_.shape.d_model});
  kernels::sinusoid_table(position);
  return keep(position);
}

Tensor Proxy::embed(Context& ctx, const Weights& weights, const Tensor& tokens) const {
  const Tensor x = ctx.arena.tensor(frame_.dtype, {tokens.dim(0), tokens.dim(1), tokens.dim(2), frame_.shape.d_model});
  kernels::embed_forward(ctx, table_.view(weights, embedding_), tokens, x);
  return x;
}

void Proxy::loss_and_gradients(Context& ctx, const LayoutData& data, const Weights& weights, const Tensor& tokens,
                               const Tensor& targets, double scale, const Tensor& loss, const Tensor& grads,
                               std::int64_t most_targets) const {
  kernels::ArenaScope scope(ctx.arena);
  std::vector<Block::Saved> saved(blocks_.size());
  Tensor x = embed(ctx, weights, tokens);
  for (int i = 0; i < depth(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    x = blocks_[at].forward(ctx, data.layer(i), weights, x, saved[at]);
  }
  Decoder::Saved decoded;
  if (decoder_) x = decoder_->forward(ctx, weights, x, decoded);
  const auto fresh = [&] { return ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)}); };
  const Tensor inv_rms = ctx.arena.tensor(kernels::stat_dtype(x.dtype()), {x.dim(0), x.dim(1), x.dim(2)});
  Tensor h = fresh();
  kernels::add_rmsnorm_forward(ctx, x, {}, table_.view(weights, final_norm_), kNormEps, h, inv_rms);

  const Tensor dh = fresh();
  Tensor dx = fresh();
  kernels::linear_cross_entropy_train(ctx, h, table_.view(weights, head_), targets, scale, loss, dh,
                                      table_.view(grads, head_), most_targets);
  kernels::zero(ctx, dx);
  kernels::add_rmsnorm_backward(ctx, dh, x, table_.view(weights, final_norm_), inv_rms, dx,
                                table_.view(grads, final_norm_), {}, kNormEps);
  Tensor spare = h;
  if (decoder_) decoder_->backward(ctx, weights, decoded, dx, spare, grads);
  for (int i = depth() - 1; i >= 0; --i) {
    const auto at = static_cast<std::size_t>(i);
    const Tensor in = blocks_[at].backward(ctx, data.layer(i), weights, saved[at], dx, spare, grads);
    if (in.data() == spare.data()) std::swap(dx, spare);
  }
  kernels::embed_backward(ctx, dx, tokens, table_.view(grads, embedding_));
}

Tensor Proxy::infer(Context& ctx, const LayoutData& data, const Weights& weights, const Tensor& tokens,
                    std::span<const AttentionProbe> probes) const {
  Tensor x = embed(ctx, weights, tokens);
  for (int i = 0; i < depth(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    LayerData layer = data.layer(i);
    if (!probes.empty()) layer.probe = &probes[at];
    blocks_[at].infer(ctx, layer, weights, x);
  }
  if (decoder_) x = decoder_->infer(ctx, weights, x);
  const Tensor h = ctx.arena.tensor(x.dtype(), {x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
  const Tensor inv_rms = ctx.arena.tensor(kernels::stat_dtype(x.dtype()), {x.dim(0), x.dim(1), x.dim(2)});
  kernels::add_rmsnorm_forward(ctx, x, {}, table_.view(weights, final_norm_), kNormEps, h, inv_rms);
  return h;
}

void Proxy::evaluate(Context& ctx, const LayoutData& data, const Weights& weights, const Tensor& tokens,
                     const Tensor& targets, const Tensor& loss, const Tensor& predicted,
                     std::span<const AttentionProbe> probes, std::int64_t most_targets) const {
  kernels::ArenaScope scope(ctx.arena);
  const Tensor h = infer(ctx, data, weights, tokens, probes);
  kernels::linear_cross_entropy_eval(ctx, h, table_.view(weights, head_), targets, loss, predicted, most_targets);
}

void Proxy::logits(Context& ctx, const LayoutData& data, const Weights& weights, const Tensor& tokens,
                   const Tensor& logits) const {
  kernels::ArenaScope scope(ctx.arena);
  const Tensor h = infer(ctx, data, weights, tokens, {});
  kernels::linear_forward(ctx, h, table_.view(weights, head_), logits);
}

}  // namespace hylas::model
