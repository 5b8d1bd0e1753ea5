// Real text on a GPU (see text_device.hpp): a block copies one sequence.
#include "model/data/tasks/text_device.hpp"

#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.hpp"
#include "model/design/input_error.hpp"

// The kernel stands in the namespace of the others: the emulator (tests/emulator) knows them by it.
namespace hylas::kernels::cuda {
namespace {

struct TextArrays {
  const std::int32_t *data_seeds, *first;
  std::int32_t *tokens, *targets;
  std::int64_t data_seeds_stride, first_stride, tokens_stride, targets_stride;
  const void* corpus;
  int width;             // bytes of a token
  std::int64_t begin;    // of the training part
  std::uint64_t starts;  // positions where a sequence can begin
  std::uint64_t needle_threshold, train_sequences, tag;
  std::int32_t context;
};

__device__ __forceinline__ std::uint64_t text_word(const std::int32_t* words) {
  return static_cast<std::uint32_t>(words[0]) | static_cast<std::uint64_t>(static_cast<std::uint32_t>(words[1])) << 32;
}

__device__ __forceinline__ std::int32_t corpus_token(const TextArrays& a, std::int64_t i) {
  if (a.width == 1) return static_cast<const std::uint8_t*>(a.corpus)[i];
  if (a.width == 2) return static_cast<const std::uint16_t*>(a.corpus)[i];
  return static_cast<std::int32_t>(static_cast<const std::uint32_t*>(a.corpus)[i]);
}

__global__ void __launch_bounds__(256) text_kernel(TextArrays a) {
  const std::int64_t p = blockIdx.y, b = blockIdx.x;
  std::uint64_t index = text_word(a.first + p * a.first_stride) + static_cast<std::uint64_t>(b);
  if (a.train_sequences > 0) index %= a.train_sequences;
  model::Draws draws(a.tag, text_word(a.data_seeds + p * a.data_seeds_stride), index, false);
  const std::uint64_t random = draws.word64();
  const std::int64_t start = a.begin + static_cast<std::int64_t>(model::mulhi64(random, a.starts));
  model::TextNeedle needle;
  if (draws.chance(a.needle_threshold)) needle = model::draw_needle(draws, a.context, -1);
  std::int32_t* tokens = a.tokens + p * a.tokens_stride + b * a.context;
  std::int32_t* targets = a.targets + p * a.targets_stride + b * a.context;
  for (std::int32_t t = static_cast<std::int32_t>(threadIdx.x); t <= a.context; t += 256) {
    const std::int32_t from = model::text_source(needle, a.context, t);
    const std::int32_t token = from >= 0 ? corpus_token(a, start + from) : needle.byte(-1 - from);
    if (t < a.context) tokens[t] = token;
    if (t > 0) targets[t - 1] = token;
  }
}

}  // namespace
}  // namespace hylas::kernels::cuda

namespace hylas::model {

TextDevice::TextDevice(kernels::Context& ctx, const TextTask& task) : task_(task), device_(ctx.device.index) {
  const Corpus& corpus = task.corpus();
  const auto bytes = static_cast<std::size_t>(corpus.size()) * static_cast<std::size_t>(corpus.width());
  try {
    corpus_ = kernels::cuda::device_allocate(bytes, device_);
  } catch (const kernels::cuda::OutOfDeviceMemory&) {
    throw InputError("task.corpus " + corpus.path().string() + " holds " + std::to_string(bytes >> 20) +
                     " MiB, more than the GPU has free; train on a part of it, or with --device cpu");
  }
  try {
    kernels::cuda::upload(corpus_, corpus.data(), bytes, device_);
  } catch (...) {
    kernels::cuda::device_free(corpus_, device_);
    throw;
  }
}

TextDevice::~TextDevice() {
  kernels::cuda::device_free(corpus_, device_);
}

void TextDevice::generate(kernels::Context& ctx, const kernels::Tensor& data_seeds, const kernels::Tensor& first,
                          const kernels::Tensor& tokens, const kernels::Tensor& targets) const {
  const std::int64_t batch = check_sequence_tensors("text", task_.context(), data_seeds, first, tokens, targets);
  const Corpus& corpus = task_.corpus();
  const kernels::cuda::TextArrays arrays{static_cast<const std::int32_t*>(data_seeds.data()),
                                         static_cast<const std::int32_t*>(first.data()),
                                         static_cast<std::int32_t*>(tokens.data()),
                                         static_cast<std::int32_t*>(targets.data()),
                                         data_seeds.trial_stride(),
                                         first.trial_stride(),
                                         tokens.trial_stride(),
                                         targets.trial_stride(),
                                         corpus_,
                                         corpus.width(),
                                         corpus.training().begin,
                                         static_cast<std::uint64_t>(corpus.training_starts(task_.context())),
                                         task_.needle_threshold(),
                                         task_.train_sequences(),
                                         task_tag("text"),
                                         static_cast<std::int32_t>(task_.context())};
  const dim3 grid(static_cast<unsigned>(batch), static_cast<unsigned>(tokens.trials()));
  kernels::cuda::launch(ctx, kernels::cuda::text_kernel, grid, dim3(256), 0, arrays);
}

}  // namespace hylas::model
