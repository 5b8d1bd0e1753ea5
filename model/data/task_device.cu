// Tasks on a GPU (see task_device.hpp): one kernel for all generators (generator.hpp), a thread a sequence.
#include "model/data/task_device.hpp"

#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.hpp"
#include "model/data/generator.hpp"
#include "model/data/tasks/induction.hpp"
#include "model/data/tasks/mad_compression.hpp"
#include "model/data/tasks/mad_fuzzy_recall.hpp"
#include "model/data/tasks/mad_memorization.hpp"
#include "model/data/tasks/mad_recall.hpp"
#include "model/data/tasks/mad_selective_copy.hpp"
#include "model/data/tasks/mqar.hpp"
#include "model/data/tasks/needles.hpp"
#include "model/data/tasks/recall.hpp"
#include "model/data/tasks/recall_device.hpp"
#include "model/data/tasks/text_device.hpp"

// The kernel stands in the namespace of the others: the emulator (tests/emulator) knows them by it.
namespace hylas::kernels::cuda {
namespace {

struct GeneratorArrays {
  const std::int32_t *data_seeds, *first;
  std::int32_t *tokens, *targets;
  std::int64_t data_seeds_stride, first_stride, tokens_stride, targets_stride;
  std::int64_t trials, batch, context;
  std::uint64_t tag, train_sequences;
  std::uint32_t* scratch;  // [P, B, scratch_words]
};

__device__ __forceinline__ std::uint64_t wide_word(const std::int32_t* words) {
  return static_cast<std::uint32_t>(words[0]) | static_cast<std::uint64_t>(static_cast<std::uint32_t>(words[1])) << 32;
}

constexpr int generator_threads = 32;  // few a block, so that they spread over all multiprocessors

template <class Generator>
__global__ void __launch_bounds__(generator_threads) generator_kernel(Generator generator, GeneratorArrays a) {
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * generator_threads + threadIdx.x;
  if (at >= a.trials * a.batch) return;
  const std::int64_t p = at / a.batch, b = at - p * a.batch;
  std::uint64_t index = wide_word(a.first + p * a.first_stride) + static_cast<std::uint64_t>(b);
  if (a.train_sequences > 0) index %= a.train_sequences;
  model::Draws draws(a.tag, wide_word(a.data_seeds + p * a.data_seeds_stride), index, false);
  generator.make(
      draws, {a.tokens + p * a.tokens_stride + b * a.context, a.targets + p * a.targets_stride + b * a.context, nullptr,
              a.scratch + at * generator.scratch_words, static_cast<std::int32_t>(a.context)});
}

}  // namespace
}  // namespace hylas::kernels::cuda

namespace hylas::model {
namespace {

using kernels::Context;
using kernels::Tensor;

template <class Generator>
class GeneratorDevice final : public TaskDevice {
 public:
  GeneratorDevice(Context& ctx, const GeneratedTask<Generator>& task)
      : task_(task), generator_(task.generator()), device_(ctx.device.index) {
    if (generator_.table_size == 0) return;
    const auto bytes = static_cast<std::size_t>(generator_.table_size) * sizeof(std::uint64_t);
    auto* copy = static_cast<std::uint64_t*>(kernels::cuda::device_allocate(bytes, device_));
    table_ = copy;
    kernels::cuda::upload(copy, generator_.table, bytes, device_);
    generator_.table = copy;
  }
  ~GeneratorDevice() override { kernels::cuda::device_free(table_, device_); }
  GeneratorDevice(const GeneratorDevice&) = delete;
  GeneratorDevice& operator=(const GeneratorDevice&) = delete;

  void generate(Context& ctx, const Tensor& data_seeds, const Tensor& first, const Tensor& tokens,
                const Tensor& targets) const override {
    const kernels::ArenaScope scope(ctx.arena);
    const std::int64_t P = tokens.trials(), T = task_.context();
    const std::int64_t B = check_sequence_tensors(Generator::name, T, data_seeds, first, tokens, targets);
    auto* scratch = ctx.arena.template take<std::uint32_t>(std::max<std::int64_t>(1, P * B * generator_.scratch_words));
    const kernels::cuda::GeneratorArrays arrays{static_cast<const std::int32_t*>(data_seeds.data()),
                                                static_cast<const std::int32_t*>(first.data()),
                                                static_cast<std::int32_t*>(tokens.data()),
                                                static_cast<std::int32_t*>(targets.data()),
                                                data_seeds.trial_stride(),
                                                first.trial_stride(),
                                                tokens.trial_stride(),
                                                targets.trial_stride(),
                                                P,
                                                B,
                                                T,
                                                task_tag(Generator::name),
                                                task_.train_sequences(),
                                                scratch};
    constexpr int threads = kernels::cuda::generator_threads;
    const auto blocks = static_cast<unsigned>((P * B + threads - 1) / threads);
    kernels::cuda::launch(ctx, kernels::cuda::generator_kernel<Generator>, dim3(blocks), dim3(threads), 0, generator_,
                          arrays);
  }

 private:
  const GeneratedTask<Generator>& task_;
  Generator generator_;
  int device_;
  void* table_ = nullptr;
};

// The first of the generators that the task is made of; null where it is of none.
template <class... Generators>
std::unique_ptr<TaskDevice> generator_device([[maybe_unused]] Context& ctx, [[maybe_unused]] const Task& task) {
  std::unique_ptr<TaskDevice> device;
  [[maybe_unused]] const auto attempt = [&]<class Generator>(const GeneratedTask<Generator>* generated) {
    if (generated != nullptr) device = std::make_unique<GeneratorDevice<Generator>>(ctx, *generated);
  };
  (attempt(dynamic_cast<const GeneratedTask<Generators>*>(&task)), ...);
  return device;
}

}  // namespace

std::int64_t check_sequence_tensors(const char* task, std::int64_t context, const Tensor& data_seeds,
                                    const Tensor& first, const Tensor& tokens, const Tensor& targets) {
  const std::int64_t P = tokens.trials(), B = tokens.trial_size() / context;
  for (const Tensor* t : {&data_seeds, &first, &tokens, &targets}) {
    const std::int64_t size = t == &tokens || t == &targets ? B * context : 2;
    if (t->defined() && t->dtype() == kernels::DType::i32 && t->trials() == P && t->trial_size() == size) continue;
    throw std::invalid_argument(std::string(task) + ": a tensor of sequences should be i32, " + std::to_string(P) +
                                " trials of " + std::to_string(size) + " elements");
  }
  return B;
}

std::unique_ptr<TaskDevice> make_task_device(Context& ctx, const Task& task) {
  if (const auto* recall = dynamic_cast<const RecallStream*>(&task)) {
    return std::make_unique<RecallDevice>(ctx, *recall);
  }
  if (const auto* text = dynamic_cast<const TextTask*>(&task)) return std::make_unique<TextDevice>(ctx, *text);
  std::unique_ptr<TaskDevice> device =
      generator_device<Mqar, MadRecall, MadNoisyRecall, MadFuzzyRecall, MadSelectiveCopy, MadCompression,
                       MadMemorization, Induction, Needles>(ctx, task);
  if (!device) throw std::logic_error("make_task_device: task " + task.spec().name + " has no generator here");
  return device;
}

}  // namespace hylas::model
