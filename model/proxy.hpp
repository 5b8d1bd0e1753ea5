// Proxy: the model itself, a pre-norm Llama-family network (MATHS 1), as functions of parameter blocks.
//
//   x = Embed(tokens);  for each layer: x += Mixer(RMSNorm(x)), x += FFN(RMSNorm(x));  logits = Head(RMSNorm(x))
//
// With Head::decoder (model/decoder.hpp), for tasks that are answered from the last hidden state, x between the last
// layer and the norm becomes Decoder(x): the logits at t are a function of the last position's x and of t.
//
// A Proxy holds no weights: it knows shape, depth and the operator of each layer (what a cohort shares), and where each
// parameter lies. What differs between trials comes in as arguments with a leading trial dimension P, any P >= 1:
//
//   weights, grads [P, N] (model/parameters.hpp)   tokens, targets [P, B, T] i32   loss [P, B, T]
//
// A target < 0 is not scored. most_targets: no sequence has more scored positions than that, so that the head can do
// with fewer rows; 0 for any number (kernels/linear_cross_entropy.hpp). dtype: f32, or f64 for tests; all floating
// tensors have it. On a GPU f32 or bf16: then activations and matrices are bf16, vectors, losses and gradients f32
// (Weights). T = shape.context on a GPU and there all tensors lie on the device.
// Errors: InputError for a layout with a mixer that cannot be trained. Thread-safety: const after construction; a call
// uses only its Context (activations come from ctx.arena and are given back).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/context.hpp"
#include "model/block.hpp"
#include "model/data/task_spec.hpp"
#include "model/decoder.hpp"
#include "model/design/design.hpp"

namespace hylas::model {

// Window, RoPE switch and sink switch of every layer of P trials, in the form the operators read.
class LayoutData {
 public:
  LayoutData(std::span<const Layout* const> layouts, std::int64_t context);
  [[nodiscard]] LayerData layer(int index) const;
  // Reads from `values` from now on, i32 of as many elements as values() has: a copy on a GPU, made by the caller.
  void move_to(const kernels::Tensor& values) { elsewhere_ = values; }
  [[nodiscard]] const std::vector<std::int32_t>& values() const { return values_; }

 private:
  std::int64_t trials_ = 0;
  std::vector<std::int32_t> values_;  // [layers][window, rope, sink][P]
  kernels::Tensor elsewhere_;
};

// What stands between the last layer and the final norm: nothing (position t predicts its target), or a Decoder.
enum class Head : std::uint8_t { next_token, decoder };
// The head of models of this task. Errors: InputError for an unknown task.
[[nodiscard]] Head head_of(const TaskSpec& task);

class Proxy {
 public:
  explicit Proxy(const Design& design, kernels::DType dtype = kernels::DType::f32, kernels::Device device = {},
                 Head head = Head::next_token);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  [[nodiscard]] const Shape& shape() const { return frame_.shape; }
  [[nodiscard]] int depth() const { return static_cast<int>(blocks_.size()); }
  [[nodiscard]] Head head() const { return decoder_ ? Head::decoder : Head::next_token; }
  [[nodiscard]] const ParameterTable& parameters() const { return table_; }

  // Writes each position's loss and does grads += scale * d(sum of losses)/d(weights).
  void loss_and_gradients(kernels::Context& ctx, const LayoutData& data, const Weights& weights,
                          const kernels::Tensor& tokens, const kernels::Tensor& targets, double scale,
                          const kernels::Tensor& loss, const kernels::Tensor& grads,
                          std::int64_t most_targets = 0) const;
  // Forward only: each position's loss and predicted token (-1 where not scored). probes: none, or one a layer; those
  // of layers without attention are not read.
  void evaluate(kernels::Context& ctx, const LayoutData& data, const Weights& weights, const kernels::Tensor& tokens,
                const kernels::Tensor& targets, const kernels::Tensor& loss, const kernels::Tensor& predicted,
                std::span<const AttentionProbe> probes = {}, std::int64_t most_targets = 0) const;
  // Forward only: all logits [P, B, T, V].
  void logits(kernels::Context& ctx, const LayoutData& data, const Weights& weights, const kernels::Tensor& tokens,
              const kernels::Tensor& logits) const;

 private:
  // Rotations, decays, and with `positions` the decoder's position codes, which are returned.
  kernels::Tensor make_tables(const Layout& layout, bool positions);
  [[nodiscard]] kernels::Tensor embed(kernels::Context& ctx, const Weights& weights,
                                      const kernels::Tensor& tokens) const;
  // The normalised output of the last layer, or of the decoder; the caller's scope gives the arena back.
  [[nodiscard]] kernels::Tensor infer(kernels::Context& ctx, const LayoutData& data, const Weights& weights,
                                      const kernels::Tensor& tokens, std::span<const AttentionProbe> probes) const;

  MixerFrame frame_;
  kernels::Arena tables_;  // what frame_'s tables and the decoder's position codes point to
  ParameterTable table_;
  ParameterId embedding_, head_, final_norm_;
  std::vector<Block> blocks_;
  std::optional<Decoder> decoder_;
};

}  // namespace hylas::model
