// Mamba-2 (arXiv 2405.21060), the mixer `mamba2`: names, row order and arithmetic of Hugging Face's Mamba2Mixer with
// one group, expand 2, heads of 64, state 64, chunk 64 and no bound on the time step.
#pragma once

#include "model/mixer/mixer.hpp"

namespace hylas::model {

[[nodiscard]] std::unique_ptr<MixerOperator> make_mamba2(int index, const MixerFrame& frame, ParameterTable& table);

}  // namespace hylas::model
