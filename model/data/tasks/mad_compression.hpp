// MAD's compression: the model reads random tokens and a compression token; its last hidden state and a position say
// which token stood there (mad.hpp has the source).
//
// Tokens: content [0, vocab - 1), compression vocab - 1. Positions 0 .. context - 2 hold below(vocab - 1) each, one
// word a position in their order (draws.hpp); the last one holds the compression token. Trained and scored: targets[t]
// = tokens[t] for t < context - 1, -1 at the last. Target t is what a decoder makes of the last position's hidden state
// and position t, never of the hidden state at t, which would be trivial. Its distance is unknown_distance: how far the
// token lies from the last position says nothing about windows, since all tokens must pass through one state.
//
// The original (generate_compression_instance) also has the compression token as the target of the last position, which
// is always the same: its accuracy counts context targets of which one is free. Its decoder (AutoEncoder) adds a
// sine-cosine position embedding to the last state; norm, linear, GELU, norm, linear, GELU at the model's width; norm
// and a linear layer to the vocabulary. The decoder is the model's (model/decoder.hpp), not the task's.
//
// Limits: context >= 2, vocab >= 2. Thread-safety: pure.
#pragma once

#include <cstdint>

#include "model/data/tasks/mad.hpp"

namespace hylas::model {

struct MadCompression : GeneratorBase {
  static constexpr const char* name = "mad_compression";

  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    const auto compression = static_cast<std::int32_t>(vocab - 1);
    const std::int32_t last = place.length - 1;
    place.clear();
    for (std::int32_t t = 0; t < last; ++t) {
      place.tokens[t] = static_cast<std::int32_t>(draws.below(static_cast<std::uint32_t>(compression)));
      place.score(t, place.tokens[t], -1);
    }
    place.tokens[last] = compression;
  }
};

}  // namespace hylas::model
