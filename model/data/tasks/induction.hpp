// Induction: random tokens, among them once a trigger; at the trigger at the end the model repeats the token that stood
// after the first one. This file fixes every bit of a sequence.
//
// Sources: the synthetic of H3, Fu et al., arXiv 2212.14052, github.com/HazyResearch/safari,
// src/dataloaders/synthetics.py (copy_method induction_head: vocabulary 20, 30 random tokens and the trigger, a context
// of 31), and its extrapolation in Gu and Dao, "Mamba", arXiv 2312.00752. A port by its own random numbers.
// Differences: that vocabulary of 20 holds a second special token, which never occurs; H3 trains all next tokens and
// scores the last one, here only the last one is trained, as Mamba does.
//
// With V = vocab and T the context: the trigger is token V - 1, all other tokens are uniform on [0, V - 1). Triggers
// stand at position p, uniform on [0, T - 3), and at T - 1. The target at T - 1 is tokens[p + 1], distance T - 1 - p;
// nothing else is trained. Longer sequences for extrapolation are those of a longer context.
// Draws (draws.hpp, tag "inductio"), in this order: p = below(T - 3); then the token of every position other than p and
// T - 1, ascending: below(V - 1).
//
// Errors: induction_type()'s make throws InputError for a context under 4 tokens. Thread-safety: make() is const.
#pragma once

#include <cstdint>

#include "model/data/generator.hpp"

namespace hylas::model {

struct Induction : GeneratorBase {
  static constexpr const char* name = "induction";

  HYLAS_HOST_DEVICE void make(Draws& draws, const Place& place) const {
    place.clear();
    const std::int32_t last = place.length - 1;
    const auto trigger = static_cast<std::int32_t>(vocab - 1);
    const auto at = static_cast<std::int32_t>(draws.below(static_cast<std::uint32_t>(last - 2)));
    for (std::int32_t t = 0; t < last; ++t) {
      place.tokens[t] = t == at ? trigger : static_cast<std::int32_t>(draws.below(static_cast<std::uint32_t>(trigger)));
    }
    place.tokens[last] = trigger;
    place.score(last, place.tokens[at + 1], at + 1);
  }
};

}  // namespace hylas::model
