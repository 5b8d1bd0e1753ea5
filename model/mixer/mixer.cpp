// The table of mixers that can be trained: one line each.
#include "model/mixer/mixer.hpp"

#include <algorithm>
#include <array>

#include "model/mixer/attention.hpp"

namespace hylas::model {
namespace {

using Maker = std::unique_ptr<MixerOperator> (*)(int, const MixerFrame&, ParameterTable&);

struct Entry {
  Mixer mixer;
  Maker make;
};

constexpr std::array kMixers = {
    Entry{Mixer::full, make_attention},
    Entry{Mixer::swa, make_attention},
};

}  // namespace

void check_mixer(Mixer mixer, int index) {
  std::string known;
  for (const Entry& entry : kMixers) {
    if (entry.mixer == mixer) return;
    known += (known.empty() ? "" : ", ") + std::string(name_of(entry.mixer));
  }
  throw InputError("layer " + std::to_string(index) + ": this program cannot train the mixer '" +
                   std::string(name_of(mixer)) + "' (it can describe it); it trains: " + known);
}

std::unique_ptr<MixerOperator> make_mixer(Mixer mixer, int index, const MixerFrame& frame, ParameterTable& table) {
  check_mixer(mixer, index);
  const auto* entry = std::find_if(kMixers.begin(), kMixers.end(), [&](const Entry& e) { return e.mixer == mixer; });
  return entry->make(index, frame, table);
}

}  // namespace hylas::model
