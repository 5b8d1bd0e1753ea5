// Lightning attention (arXiv 2405.17381), the mixer `lightning`: names, row order and arithmetic of Hugging Face's
// MiniMaxLightningAttention (MiniMax-01), with the decays of MATHS 2.
#pragma once

#include "model/mixer/mixer.hpp"

namespace hylas::model {

[[nodiscard]] std::unique_ptr<MixerOperator> make_lightning(int index, const MixerFrame& frame, ParameterTable& table);

// The log decay < 0 of head h of H in layer l of L: constant in time, slower in later layers and heads:
// -2^(-8 (h+1)/H) (1 - l/(L-1) + 1e-5), for L = 1 without the bracket. Hugging Face adds the 1e-5 to L - 1, too: that
// is at most 1e-5/(L-1) of 2^(-8 (h+1)/H) more.
[[nodiscard]] double lightning_decay(std::int64_t head, std::int64_t heads, std::int64_t layer, std::int64_t layers);

}  // namespace hylas::model
