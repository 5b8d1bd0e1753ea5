// Softmax attention with a window, RoPE or NoPE, an optional sink and grouped queries: the mixers `full` and `swa`.
#pragma once

#include "model/mixer/mixer.hpp"

namespace hylas::model {

[[nodiscard]] std::unique_ptr<MixerOperator> make_attention(int index, const MixerFrame& frame, ParameterTable& table);

}  // namespace hylas::model
