// Candidates: every layout text a space file stands for, in order: its patterns as written, then its arrangements; axes
// like an odometer in the order in which the holes first appear, the last fastest; placements in lexicographic order of
// positions. Nothing is kept: a callback gets one text after the other, so that only the limits of enumerate() bound
// the memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "search/space/space_file.hpp"

namespace hylas::search {

constexpr std::int64_t kMostCandidates = 100'000;
constexpr std::int64_t kMostLayers = 20'000'000;  // of all candidates or all trials together: a quarter of a gigabyte

struct Candidate {
  std::string layout;  // holes filled
  Place where;         // of the pattern or arrangement it comes from
  std::string source;  // that pattern, quoted
};

// Throws InputError through `root` for holes without an axis, axes without a hole, bad braces, and more candidates than
// the limit (counted before any is made).
void for_each_candidate(const SpaceFile& file, const TomlReader& root,
                        const std::function<void(const Candidate&)>& visit);

// n choose k; the largest int64 where it is larger.
[[nodiscard]] std::int64_t binomial(std::int64_t n, std::int64_t k);

}  // namespace hylas::search
