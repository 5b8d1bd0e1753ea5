// The table of mixers that can be trained: one line each.
#include "model/mixer/mixer.hpp"

#include <algorithm>
#include <array>

#include "model/design/recurrent_sizes.hpp"
#include "model/mixer/attention.hpp"
#include "model/mixer/gdn.hpp"
#include "model/mixer/lightning.hpp"
#include "model/mixer/mamba2.hpp"

namespace hylas::model {
namespace {

using Maker = std::unique_ptr<MixerOperator> (*)(int, const MixerFrame&, ParameterTable&);

struct Entry {
  Mixer mixer;
  Maker make;
};

constexpr std::array kMixers = {
    Entry{Mixer::full, make_attention}, Entry{Mixer::swa, make_attention},       Entry{Mixer::gdn, make_gdn},
    Entry{Mixer::mamba2, make_mamba2},  Entry{Mixer::lightning, make_lightning},
};

// Of the recurrent mixers' kernels (kernels/recurrence.hpp, decay_gates.hpp, gated_norm.hpp) on a GPU.
constexpr std::int64_t kMostGpuHeadDim = 128, kMostGpuHeads = 256, kMostGpuNormWidth = 8192;

}  // namespace

void check_mixer(Mixer mixer, int index, const Shape& shape, kernels::DeviceKind device) {
  if (device != kernels::DeviceKind::cuda || is_attention(mixer)) return;
  const auto check = [&](std::int64_t value, std::int64_t most, const char* name) {
    if (value <= most) return;
    throw InputError("layer " + std::to_string(index) + ": " + name + " is " + std::to_string(value) +
                     ", but the mixer '" + std::string(name_of(mixer)) + "' takes at most " + std::to_string(most) +
                     " on a GPU; use --device cpu");
  };
  if (mixer == Mixer::mamba2) return check(shape.d_model, kMostGpuNormWidth / kMamba2Expand, "shape.d_model");
  check(shape.head_dim, kMostGpuHeadDim, "shape.head_dim");
  check(shape.heads, kMostGpuHeads, "shape.heads");
  if (mixer == Mixer::lightning) check(shape.q_width(), kMostGpuNormWidth, "shape.heads x shape.head_dim");
}

std::unique_ptr<MixerOperator> make_mixer(Mixer mixer, int index, const MixerFrame& frame, ParameterTable& table) {
  const auto* entry = std::find_if(kMixers.begin(), kMixers.end(), [&](const Entry& e) { return e.mixer == mixer; });
  return entry->make(index, frame, table);
}

}  // namespace hylas::model
