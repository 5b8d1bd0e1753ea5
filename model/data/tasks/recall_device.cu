// The recall stream on a GPU (see recall_device.hpp). A block makes one sequence: its threads draw all slots at once;
// slots that repeat an earlier one follow their chains back by pointer jumping, log2(slots) rounds in shared memory;
// the value of a key is a draw of its own, so no slot has to know where its key came first.
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.hpp"
#include "model/data/tasks/recall.hpp"
#include "model/data/tasks/recall_device.hpp"
#include "model/data/tasks/recall_draw.hpp"
#include "model/design/input_error.hpp"

// The kernel stands in the namespace of the others: the emulator (tests/emulator) knows their shared memory.
namespace hylas::kernels::cuda {
namespace {

using model::recall_slot;
using model::recall_value;
using model::RecallDraws;
using model::RecallSlot;

constexpr std::uint32_t kKnown = 0x8000'0000;  // the other bits are a key; without it, the slot whose key this one has

struct RecallArrays {
  const std::int32_t *data_seeds, *first;
  std::int32_t *tokens, *targets;
  const std::uint64_t* prefix;
  std::uint64_t threshold, train_sequences;
  std::uint32_t keys, values, slots;
  std::int64_t data_seeds_stride, first_stride, tokens_stride, targets_stride;
};

__device__ __forceinline__ std::uint64_t wide(const std::int32_t* words) {
  return static_cast<std::uint32_t>(words[0]) | static_cast<std::uint64_t>(static_cast<std::uint32_t>(words[1])) << 32;
}

// `Each` slots a thread: blockDim.x * Each >= slots.
template <int Each>
__global__ void __launch_bounds__(1024) recall_kernel(RecallArrays a) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  auto* slot = reinterpret_cast<std::uint32_t*>(shared_memory);  // [slots]
  const std::int64_t p = blockIdx.y, b = blockIdx.x;
  std::uint64_t index = wide(a.first + p * a.first_stride) + static_cast<std::uint64_t>(b);
  if (a.train_sequences > 0) index %= a.train_sequences;
  const RecallDraws draws{wide(a.data_seeds + p * a.data_seeds_stride), index, 0};
  const std::uint32_t step = blockDim.x;
  std::uint32_t mine[Each];
#pragma unroll
  for (int k = 0; k < Each; ++k) {
    const std::uint32_t i = threadIdx.x + k * step;
    mine[k] = kKnown;
    if (i >= a.slots) continue;
    const RecallSlot drawn = recall_slot(draws, i, a.prefix, a.threshold, a.keys);
    mine[k] = drawn.back > 0 ? i - drawn.back : kKnown | drawn.fresh;
    slot[i] = mine[k];
  }
  for (std::uint32_t reach = 1; reach < a.slots; reach *= 2) {
    __syncthreads();
#pragma unroll
    for (int k = 0; k < Each; ++k) {
      if ((mine[k] & kKnown) == 0) mine[k] = slot[mine[k]];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < Each; ++k) {
      const std::uint32_t i = threadIdx.x + k * step;
      if (i < a.slots) slot[i] = mine[k];
    }
  }
  const std::int64_t first = b * 2 * a.slots;
  std::int32_t* tokens = a.tokens + p * a.tokens_stride + first;
  std::int32_t* targets = a.targets + p * a.targets_stride + first;
#pragma unroll
  for (int k = 0; k < Each; ++k) {
    const std::uint32_t i = threadIdx.x + k * step;
    if (i >= a.slots) continue;
    const std::uint32_t key = mine[k] & ~kKnown;
    const auto value = static_cast<std::int32_t>(a.keys + recall_value(draws, key, a.values));
    tokens[2 * i] = static_cast<std::int32_t>(key);
    tokens[2 * i + 1] = value;
    targets[2 * i] = value;
    if (i > 0) targets[2 * i - 1] = static_cast<std::int32_t>(key);
    if (i + 1 == a.slots) targets[2 * i + 1] = -1;
  }
}

}  // namespace
}  // namespace hylas::kernels::cuda

namespace hylas::model {

RecallDevice::RecallDevice(kernels::Context& ctx, const RecallStream& stream)
    : task_(stream.task()),
      slots_(stream.context() / 2),
      threshold_(stream.threshold()),
      train_sequences_(stream.train_sequences()),
      device_(ctx.device.index) {
  const std::int64_t context = stream.context();
  if (context > kMaxContext) {
    throw InputError("the recall task on a GPU needs a context of at most " + std::to_string(kMaxContext) +
                     " tokens, not " + std::to_string(context) + "; use the CPU for longer ones");
  }
  const std::size_t bytes = stream.prefix().size() * sizeof(std::uint64_t);
  prefix_ = static_cast<std::uint64_t*>(kernels::cuda::device_allocate(bytes, device_));
  try {
    kernels::cuda::upload(prefix_, stream.prefix().data(), bytes, device_);
  } catch (...) {
    kernels::cuda::device_free(prefix_, device_);
    throw;
  }
}

RecallDevice::~RecallDevice() {
  kernels::cuda::device_free(prefix_, device_);
}

void RecallDevice::generate(kernels::Context& ctx, const kernels::Tensor& data_seeds, const kernels::Tensor& first,
                            const kernels::Tensor& tokens, const kernels::Tensor& targets) const {
  const std::int64_t trials = tokens.trials();
  const std::int64_t batch = check_sequence_tensors("recall", 2 * slots_, data_seeds, first, tokens, targets);
  const kernels::cuda::RecallArrays arrays{static_cast<const std::int32_t*>(data_seeds.data()),
                                           static_cast<const std::int32_t*>(first.data()),
                                           static_cast<std::int32_t*>(tokens.data()),
                                           static_cast<std::int32_t*>(targets.data()),
                                           prefix_,
                                           threshold_,
                                           train_sequences_,
                                           static_cast<std::uint32_t>(task_.keys),
                                           static_cast<std::uint32_t>(task_.values),
                                           static_cast<std::uint32_t>(slots_),
                                           data_seeds.trial_stride(),
                                           first.trial_stride(),
                                           tokens.trial_stride(),
                                           targets.trial_stride()};
  const dim3 grid(static_cast<unsigned>(batch), static_cast<unsigned>(trials));
  const auto shared = static_cast<std::size_t>(slots_) * sizeof(std::uint32_t);
  // One slot a thread up to 1024 slots, then 8, then 32.
  const auto threads = static_cast<unsigned>(slots_ >= 1024 ? 1024 : (slots_ + 31) / 32 * 32);
  using kernels::cuda::recall_kernel;
  auto* kernel = slots_ <= 1024 ? recall_kernel<1> : slots_ <= 8192 ? recall_kernel<8> : recall_kernel<32>;
  kernels::cuda::launch(ctx, kernel, grid, dim3(threads), shared, arrays);
}

}  // namespace hylas::model
