// The MAD tasks made on the GPU: the same bits as on the CPU over seeds, indices, settings and recycled sequences.
#include "model/data/task_device.hpp"
#include "tests/kernels/cuda_support.hpp"
#include "tests/model/test_task_support.hpp"

using namespace hylas::model;
using hylas::kernels::DType;
using hylas::test::at;
using hylas::test::DeviceTensor;
using hylas::test::Gpu;
using hylas::test::gpu_here;
using hylas::test::Ints;

namespace {

using Given = std::map<std::string, TaskValue>;

Ints words(std::uint64_t x) {
  return {static_cast<std::int32_t>(static_cast<std::uint32_t>(x)), static_cast<std::int32_t>(x >> 32)};
}

void check(Gpu& gpu, const std::string& name, std::int64_t context, const Given& given = {}) {
  CAPTURE(name, context);
  const std::vector<std::uint64_t> seeds{1, 0x8000'0000'0000'0001, 0xffff'ffff'ffff'ffff};
  const std::vector<std::uint64_t> firsts{0, 0xffff'fffe, 0x1234'5678'9abc'def0};
  const std::int64_t trials = 3, batch = 21;  // 63 sequences: a block's threads and most of another's
  std::vector<Ints> seed_words, first_words;
  for (std::size_t p = 0; p < seeds.size(); ++p) {
    seed_words.push_back(words(seeds[p]));
    first_words.push_back(words(firsts[p]));
  }
  const auto task = task_test::task(name, context, given);
  const auto device = make_task_device(gpu.ctx, *task);
  const DeviceTensor data_seeds(DType::i32, {trials, 2}, seed_words), first(DType::i32, {trials, 2}, first_words);
  const DeviceTensor tokens(DType::i32, {trials, batch, context}), targets(DType::i32, {trials, batch, context});
  device->generate(gpu.ctx, data_seeds, first, tokens, targets);
  tokens.check_fences();
  targets.check_fences();
  for (std::int64_t p = 0; p < trials; ++p) {
    const auto got_tokens = tokens.values(p), got_targets = targets.values(p);
    for (std::int64_t b = 0; b < batch; ++b) {
      const auto expected =
          task_test::make(*task, seeds[at(p)], Split::train, firsts[at(p)] + static_cast<std::uint64_t>(b));
      CHECK(std::equal(expected.tokens.begin(), expected.tokens.end(), got_tokens.begin() + b * context));
      CHECK(std::equal(expected.targets.begin(), expected.targets.end(), got_targets.begin() + b * context));
    }
  }
}

}  // namespace

TEST_CASE("MAD sequences made on the GPU are those of the CPU, bit for bit", "[gpu][task][mad]") {
  if (!gpu_here()) return;
  Gpu gpu;
  for (const char* name : {"mad_recall", "mad_noisy_recall", "mad_fuzzy_recall", "mad_selective_copy",
                           "mad_compression", "mad_memorization"}) {
    check(gpu, name, task_type(name).context);
    check(gpu, name, 34, {{"train_sequences", 0}});
    check(gpu, name, 34, {{"train_sequences", 5}});
  }
  check(gpu, "mad_recall", 64, {{"vocab", 128}, {"next_tokens", 0}});
  check(gpu, "mad_noisy_recall", 64, {{"vocab", 144}, {"noise", 0.8}, {"next_tokens", 0}});
  check(gpu, "mad_fuzzy_recall", 65, {{"vocab", 2048}, {"key_motif", 2}, {"next_tokens", 0}});
  check(gpu, "mad_selective_copy", 256, {{"vocab", 128}, {"copy", 96}});
  check(gpu, "mad_memorization", 32, {{"vocab", 8192}});
}
