// The sum by which a damaged checkpoint is noticed. It covers names, shapes, metadata and data, but not the file's
// layout.
//
// State h, a 64-bit word starting at 0x68796c6173; taking in a word w: h = (h XOR w) 0x9E3779B97F4A7C15, h = h XOR (h
// >> 29). Bytes are taken in as their number, then little-endian words, the last (possibly empty) one padded with
// zeros. The order: the number of metadata entries as a word; each key and value, by ascending key; each tensor's name,
// dims (i64) and data (f32). Each step is a bijection of h for a given w and of w for a given h, so a change within one
// word always shows.
#pragma once

#include <string>
#include <vector>

#include "model/checkpoint.hpp"

namespace hylas::model {

// Its key in a file's metadata.
inline constexpr const char* kChecksumKey = "hylas.checksum";

// Sixteen hexadecimal digits. metadata is without kChecksumKey.
[[nodiscard]] std::string checkpoint_checksum(const std::vector<StoredTensor>& tensors,
                                              const CheckpointMetadata& metadata);

}  // namespace hylas::model
