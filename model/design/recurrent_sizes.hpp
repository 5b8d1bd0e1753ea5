// Sizes that recurrent mixers do not take from the Shape (MATHS 2): what their operators compute with and what their
// costs count.
#pragma once

#include <cstdint>

namespace hylas::model {

inline constexpr std::int64_t kRecurrentChunk = 64;                              // tokens
inline constexpr std::int64_t kMamba2Expand = 2;                                 // inner width over d_model
inline constexpr std::int64_t kMamba2HeadDim = 64, kMamba2State = 64;            // values and keys of a head
inline constexpr std::int64_t kMamba2Multiple = kMamba2HeadDim / kMamba2Expand;  // d_model is one of it

}  // namespace hylas::model
