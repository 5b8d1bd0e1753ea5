// The two-power law of the seed paper (arXiv 2606.15378), for loss or, with its logarithm as the loss, for LongPPL.
#include "fitting/laws/loss_powers.hpp"

namespace hylas::fitting {
namespace {

class TwoPower final : public LossLaw {
 public:
  [[nodiscard]] LossLawText text() const override {
    return {.name = "two-power",
            .summary = "loss, or ln LongPPL, by parameters and tokens, without an irreducible part",
            .formula = "L = A N^-alpha + B D^-beta",
            .source = "arXiv 2606.15378",
            .parameters = {"A", "B", "alpha", "beta"},
            .columns = {{"N", "parameters"}, {"D", "training tokens"}},
            .settings = {}};
  }
  [[nodiscard]] std::unique_ptr<LossModel> on(const LossData& data, const LossSettings& /*settings*/) const override {
    return std::make_unique<PowersModel>(data, false);
  }
};

}  // namespace

std::unique_ptr<LossLaw> make_two_power() {
  return std::make_unique<TwoPower>();
}

}  // namespace hylas::fitting
