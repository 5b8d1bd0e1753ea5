// XXH64 (see xxh64.hpp); the steps are the specification's.
#include "model/data/xxh64.hpp"

#include <bit>
#include <cstring>

namespace hylas::model {
namespace {

static_assert(std::endian::native == std::endian::little, "XXH64 reads little-endian words");

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F, kPrime3 = 0x165667B19E3779F9,
                        kPrime4 = 0x85EBCA77C2B2AE63, kPrime5 = 0x27D4EB2F165667C5;
static_assert(kPrime1 + kPrime2 == 0x60EA27EEADC0B5D6 && 0 - kPrime1 == 0x61C8864E7A143579);

template <typename Word>
std::uint64_t word_at(const std::byte* data) {
  Word word;
  std::memcpy(&word, data, sizeof word);
  return word;
}

std::uint64_t round(std::uint64_t lane, std::uint64_t word) {
  return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

std::uint64_t merge(std::uint64_t hash, std::uint64_t lane) {
  return (hash ^ round(0, lane)) * kPrime1 + kPrime4;
}

}  // namespace

void Xxh64::stripes(const std::byte* data, std::int64_t count) {
  std::uint64_t a = lane_[0], b = lane_[1], c = lane_[2], d = lane_[3];  // four independent chains, in registers
  for (const std::byte* end = data + count * kStripe; data != end; data += kStripe) {
    a = round(a, word_at<std::uint64_t>(data));
    b = round(b, word_at<std::uint64_t>(data + 8));
    c = round(c, word_at<std::uint64_t>(data + 16));
    d = round(d, word_at<std::uint64_t>(data + 24));
    // Four scalar multipliers: GCC would make one vector of the lanes, whose 64-bit products AVX2 puts together from
    // three 32-bit ones, at less than half the speed. (The empty statement only says that each lane is in a register.)
    asm("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
  }
  lane_[0] = a, lane_[1] = b, lane_[2] = c, lane_[3] = d;
  length_ += static_cast<std::uint64_t>(count * kStripe);
}

std::uint64_t Xxh64::finish(const std::byte* rest, std::int64_t bytes) const {
  std::uint64_t hash = kPrime5;
  if (length_ > 0) {
    hash = std::rotl(lane_[0], 1) + std::rotl(lane_[1], 7) + std::rotl(lane_[2], 12) + std::rotl(lane_[3], 18);
    for (const std::uint64_t lane : lane_) hash = merge(hash, lane);
  }
  hash += length_ + static_cast<std::uint64_t>(bytes);
  for (; bytes >= 8; rest += 8, bytes -= 8) {
    hash = std::rotl(hash ^ round(0, word_at<std::uint64_t>(rest)), 27) * kPrime1 + kPrime4;
  }
  if (bytes >= 4) {
    hash = std::rotl(hash ^ (word_at<std::uint32_t>(rest) * kPrime1), 23) * kPrime2 + kPrime3;
    rest += 4, bytes -= 4;
  }
  for (; bytes > 0; ++rest, --bytes) hash = std::rotl(hash ^ (word_at<std::uint8_t>(rest) * kPrime5), 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

}  // namespace hylas::model
