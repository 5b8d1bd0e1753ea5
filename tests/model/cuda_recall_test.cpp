// The recall stream made on the GPU: the same bits as RecallStream over seeds, indices, contexts and numbers of keys.
#include "model/data/tasks/recall.hpp"
#include "model/data/tasks/recall_device.hpp"
#include "model/design/input_error.hpp"
#include "tests/kernels/cuda_support.hpp"

using namespace hylas::model;
using hylas::kernels::DType;
using hylas::test::at;
using hylas::test::DeviceTensor;
using hylas::test::Gpu;
using hylas::test::gpu_here;
using hylas::test::Ints;
using hylas::test::Vector;

namespace {

Ints words(std::uint64_t x) {
  return {static_cast<std::int32_t>(static_cast<std::uint32_t>(x)), static_cast<std::int32_t>(x >> 32)};
}

struct Case {
  RecallTask task;
  std::int64_t context, batch;
};

void check(Gpu& gpu, const Case& c) {
  const std::vector<std::uint64_t> seeds{1, 0x8000'0000'0000'0001, 0xffff'ffff'ffff'ffff};
  const std::vector<std::uint64_t> firsts{0, 0xffff'fffe, 0x1234'5678'9abc'def0};
  const auto trials = static_cast<std::int64_t>(seeds.size());
  std::vector<Ints> seed_words, first_words;
  for (std::size_t p = 0; p < seeds.size(); ++p) {
    seed_words.push_back(words(seeds[p]));
    first_words.push_back(words(firsts[p]));
  }
  const RecallStream stream(c.task, c.context);
  const RecallDevice device(gpu.ctx, stream);
  const DeviceTensor data_seeds(DType::i32, {trials, 2}, seed_words), first(DType::i32, {trials, 2}, first_words);
  const DeviceTensor tokens(DType::i32, {trials, c.batch, c.context}),
      targets(DType::i32, {trials, c.batch, c.context});
  device.generate(gpu.ctx, data_seeds, first, tokens, targets);
  tokens.check_fences();
  targets.check_fences();
  Ints token(at(c.context)), target(at(c.context)), distance(at(c.context));
  for (std::int64_t p = 0; p < trials; ++p) {
    const Vector got_tokens = tokens.values(p), got_targets = targets.values(p);
    for (std::int64_t b = 0; b < c.batch; ++b) {
      stream.sequence(seeds[at(p)], Split::train, firsts[at(p)] + static_cast<std::uint64_t>(b), token.data(),
                      target.data(), distance.data());
      const auto begin = b * c.context;
      CHECK(std::equal(token.begin(), token.end(), got_tokens.begin() + begin));
      CHECK(std::equal(target.begin(), target.end(), got_targets.begin() + begin));
    }
  }
}

}  // namespace

TEST_CASE("Sequences made on the GPU are those of the CPU, bit for bit", "[gpu][recall]") {
  if (!gpu_here()) return;
  Gpu gpu;
  for (const Case& c : {Case{{16, 16, 0.4}, 2, 3}, Case{{16, 16, 0.4}, 64, 3}, Case{{1, 1, 1.0}, 62, 2},
                        Case{{500, 3, 0.9}, 130, 2}, Case{{64, 64, 0.0}, 256, 1}, Case{{64, 64, 1.0}, 514, 2}}) {
    CAPTURE(c.context, c.task.keys, c.task.repeat);
    check(gpu, c);
  }
}

TEST_CASE("Long sequences made on the GPU are those of the CPU, bit for bit", "[gpu][recall][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  for (const Case& c :
       {Case{{256, 256, 0.7}, 2048, 4}, Case{{3000001, 1000000000, 0.5}, 2050, 2}, Case{{1000, 5000, 1.0}, 16384, 2},
        Case{{64, 64, 0.95}, 16386, 2}, Case{{4096, 60, 0.9}, 65536, 2}}) {
    CAPTURE(c.context, c.task.keys, c.task.repeat);
    check(gpu, c);
  }
  CHECK_THROWS_AS(RecallDevice(gpu.ctx, RecallStream({16, 16, 0.4}, 65538)), InputError);
}
