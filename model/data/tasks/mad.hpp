// What the six MAD tasks (mad_*.hpp) share. Source: Poli et al., "Mechanistic Design and Scaling of Hybrid
// Architectures", arXiv 2403.17844, and its code, github.com/athms/mad-lab; each header says where its port differs
// from that code. Ports by their own random numbers: other sequences of the same distribution.
//
// The original's metric "acc" is macro accuracy over the tokens of the vocabulary ("accuracy/macro" here, "accuracy" is
// the micro accuracy). Its test loss and accuracy are over scored positions, as all metrics here. It has 12,800
// training sequences and 1,280 test sequences.
#pragma once

#include <cstdint>
#include <string>

#include "model/data/generator.hpp"

namespace hylas::model {

inline constexpr std::int64_t kMadTrainSequences = 12800;
inline constexpr std::int64_t kMadMaxContext = std::int64_t{1} << 20;

// Trains every position whose next token is in the sequence to predict it; the last position's target stays.
HYLAS_HOST_DEVICE inline void train_next_tokens(const Place& place) {
  for (std::int32_t t = 0; t + 1 < place.length; ++t) place.targets[t] = place.tokens[t + 1];
}

[[nodiscard]] inline TaskParameter next_tokens_parameter() {
  return {"next_tokens", "1: every next token is trained, as in the original; 0: only scored positions are",
          std::int64_t{1}, 0, 1};
}

// Throws InputError naming the context unless it is in [least, kMadMaxContext] and, where `pairs`, even.
void check_mad_context(const TaskSpec& spec, std::int64_t context, std::int64_t least, bool pairs);

}  // namespace hylas::model
