// Gated DeltaNet (arXiv 2412.06464), the mixer `gdn`: names, row order and arithmetic of Hugging Face's
// Qwen3NextGatedDeltaNet with as many key heads as value heads (H, of head_dim).
#pragma once

#include "model/mixer/mixer.hpp"

namespace hylas::model {

[[nodiscard]] std::unique_ptr<MixerOperator> make_gdn(int index, const MixerFrame& frame, ParameterTable& table);

}  // namespace hylas::model
