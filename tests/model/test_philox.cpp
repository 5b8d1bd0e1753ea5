// Philox4x32-10 is the published generator: Random123's known answers, and blocks of another implementation.
#include <bit>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/data/philox.hpp"
#include "tests/catch.hpp"

namespace hylas::model {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The first is evaluated by the compiler too: the function holds no state and no undefined behaviour.
static_assert(Philox4x32::block({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});

TEST_CASE("Philox4x32-10 gives the known answers of Random123", "[philox]") {
  CHECK(Philox4x32::block({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox4x32::block({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox4x32::block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("Philox4x32-10 gives the blocks of another library at random counters and keys", "[philox]") {
  std::ifstream file(HYLAS_SOURCE_DIR "/tests/golden/recall_philox.json");
  const auto vectors = nlohmann::json::parse(file);
  REQUIRE(vectors.size() == 32);
  for (const auto& vector : vectors) {
    CHECK(Philox4x32::block(vector["counter"].get<Philox4x32::Counter>(), vector["key"].get<Philox4x32::Key>()) ==
          vector["words"].get<Words>());
  }
}

// Proves that every word of counter and key reaches every word of the block: a flipped bit changes half of the output's
// bits.
TEST_CASE("A flipped bit of counter or key changes half of the block", "[philox]") {
  Philox4x32::Counter counter{1, 2, 3, 0};
  Philox4x32::Key key{1, 0x72656361};
  const Words base = Philox4x32::block(counter, key);
  int flipped = 0;
  for (unsigned bit = 0; bit < 192; ++bit) {
    auto other_counter = counter;
    auto other_key = key;
    (bit < 128 ? other_counter[bit / 32] : other_key[(bit - 128) / 32]) ^= 1u << bit % 32;
    const Words other = Philox4x32::block(other_counter, other_key);
    for (std::size_t w = 0; w < 4; ++w) {
      CHECK(other[w] != base[w]);
      flipped += std::popcount(other[w] ^ base[w]);
    }
  }
  // 192 * 128 fair coins: mean 12288, standard deviation 78; the bound is 6 of them.
  CHECK(std::abs(flipped - 12288) < 470);
}

}  // namespace
}  // namespace hylas::model
