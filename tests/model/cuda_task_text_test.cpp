// Sequences of real text made on the GPU: the same bits as on the CPU, of byte and token files, with needles.
#include <fstream>
#include <random>

#include "model/data/task_device.hpp"
#include "tests/kernels/cuda_support.hpp"
#include "tests/model/test_task_support.hpp"
#include "tests/temp_dir.hpp"

using namespace hylas::model;
using hylas::kernels::DType;
using hylas::test::at;
using hylas::test::DeviceTensor;
using hylas::test::Gpu;
using hylas::test::gpu_here;
using hylas::test::Ints;

namespace {

template <class Token>
std::string written(const hylas::test::TempDir& dir, const char* name) {
  std::mt19937 random(1);
  std::vector<Token> tokens(5000);
  for (Token& token : tokens) token = static_cast<Token>(random() % 50000);
  const std::string path = (dir.path() / name).string();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(tokens.data()), static_cast<std::streamsize>(5000 * sizeof(Token)));
  return path;
}

void check(Gpu& gpu, const std::map<std::string, TaskValue>& given, std::int64_t context) {
  const auto task = task_test::task("text", context, given);
  const auto device = make_task_device(gpu.ctx, *task);
  const std::vector<Ints> seeds{{1, 0}, {-1, -1}}, firsts{{0, 0}, {-2, 5}};
  const std::uint64_t seed[] = {1, 0xffff'ffff'ffff'ffff}, first[] = {0, 0x5'ffff'fffe};
  constexpr std::int64_t batch = 9;
  const DeviceTensor data_seeds(DType::i32, {2, 2}, seeds), begin(DType::i32, {2, 2}, firsts);
  const DeviceTensor tokens(DType::i32, {2, batch, context}), targets(DType::i32, {2, batch, context});
  device->generate(gpu.ctx, data_seeds, begin, tokens, targets);
  tokens.check_fences();
  targets.check_fences();
  for (std::int64_t p = 0; p < 2; ++p) {
    const auto got_tokens = tokens.values(p), got_targets = targets.values(p);
    for (std::int64_t b = 0; b < batch; ++b) {
      const auto expected = task_test::make(*task, seed[p], Split::train, first[p] + static_cast<std::uint64_t>(b));
      CHECK(std::equal(expected.tokens.begin(), expected.tokens.end(), got_tokens.begin() + b * context));
      CHECK(std::equal(expected.targets.begin(), expected.targets.end(), got_targets.begin() + b * context));
    }
  }
}

}  // namespace

TEST_CASE("Text sequences made on the GPU are those of the CPU, bit for bit", "[gpu][task][text]") {
  if (!gpu_here()) return;
  Gpu gpu;
  const hylas::test::TempDir dir;
  const std::string bytes = written<std::uint8_t>(dir, "text.txt");
  check(gpu, {{"corpus", bytes}}, 64);
  check(gpu, {{"corpus", bytes}, {"needles", 0.5}}, 300);
  check(gpu, {{"corpus", bytes}, {"train_sequences", std::int64_t{5}}}, 33);
  check(gpu, {{"corpus", written<std::uint16_t>(dir, "short.bin")}}, 100);
  check(gpu, {{"corpus", written<std::uint32_t>(dir, "long.bin")}, {"format", std::string("tokens_u32")}}, 100);
}
