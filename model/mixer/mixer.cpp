// The table of mixers that can be trained: one line each.
#include "model/mixer/mixer.hpp"

#include <algorithm>
#include <array>

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
  bool on_gpu;
};

constexpr std::array kMixers = {
    Entry{Mixer::full, make_attention, true},
    Entry{Mixer::swa, make_attention, true},
    Entry{Mixer::gdn, make_gdn, false},
    Entry{Mixer::mamba2, make_mamba2, false},
    Entry{Mixer::lightning, make_lightning, false},
};

}  // namespace

void check_mixer(Mixer mixer, int index, kernels::DeviceKind device) {
  const bool gpu = device == kernels::DeviceKind::cuda;
  std::string known;
  for (const Entry& entry : kMixers) {
    if (gpu && !entry.on_gpu) continue;
    if (entry.mixer == mixer) return;
    known += (known.empty() ? "" : ", ") + std::string(name_of(entry.mixer));
  }
  throw InputError("layer " + std::to_string(index) + ": this program cannot train the mixer '" +
                   std::string(name_of(mixer)) + "'" + (gpu ? " on a GPU; it trains there: " : "; it trains: ") +
                   known + (gpu ? "; use --device cpu" : ""));
}

std::unique_ptr<MixerOperator> make_mixer(Mixer mixer, int index, const MixerFrame& frame, ParameterTable& table) {
  check_mixer(mixer, index, frame.device.kind);
  const auto* entry = std::find_if(kMixers.begin(), kMixers.end(), [&](const Entry& e) { return e.mixer == mixer; });
  return entry->make(index, frame, table);
}

}  // namespace hylas::model
