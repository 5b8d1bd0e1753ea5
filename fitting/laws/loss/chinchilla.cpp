// Chinchilla's approach 3 (arXiv 2203.15556): ln L = LSE(a - alpha ln N, b - beta ln D, e).
#include "fitting/laws/loss_powers.hpp"

namespace hylas::fitting {
namespace {

class Chinchilla final : public LossLaw {
 public:
  [[nodiscard]] LossLawText text() const override {
    return {.name = "chinchilla",
            .summary = "loss by parameters and tokens, with an irreducible part (approach 3)",
            .formula = "L = E + A N^-alpha + B D^-beta",
            .source = "arXiv 2203.15556",
            .parameters = {"E", "A", "B", "alpha", "beta"},
            .columns = {{"N", "parameters"}, {"D", "training tokens"}},
            .settings = {}};
  }
  [[nodiscard]] std::unique_ptr<LossModel> on(const LossData& data, const LossSettings& /*settings*/) const override {
    return std::make_unique<PowersModel>(data, true);
  }
};

}  // namespace

std::unique_ptr<LossLaw> make_chinchilla() {
  return std::make_unique<Chinchilla>();
}

}  // namespace hylas::fitting
