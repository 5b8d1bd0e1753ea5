// F2, data efficiency by design (MATHS 3): a layout multiplies its tokens by kappa, all else is shared.
//
//   L = E + A N^-alpha + B (kappa D)^-beta
//   ln kappa = -(slopes of ln(window / w0), ln(full fraction), NoPE, sink, no_swa, no_full)
//
// A design with kappa 0.5 needs twice the tokens of one with kappa 1. Columns that are constant over the rows, or a
// combination of others, drop out, as in the emergence laws (fitting/covariates.hpp).
#include "fitting/covariates.hpp"
#include "fitting/laws/loss_powers.hpp"

namespace hylas::fitting {
namespace {

std::vector<DesignCovariates> designs_of(const LossData& rows) {
  const auto value = [&](const char* name, std::size_t i, double absent) {
    return rows.has(name) ? rows.at(name)[i] : absent;
  };
  std::vector<DesignCovariates> designs;
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    designs.push_back({rows.at("N")[i],
                       value("window", i, 0),
                       value("full_fraction", i, 1),
                       value("nope", i, 0),
                       value("sink", i, 0),
                       {}});
  }
  return designs;
}

class EfficiencyLaw final : public LossLaw {
 public:
  [[nodiscard]] LossLawText text() const override {
    return {.name = "efficiency",
            .summary = "data efficiency by design (F2): the same law for all, with tokens multiplied by kappa(design)",
            .formula = "L = E + A N^-alpha + B (kappa D)^-beta, ln kappa = -sum of slope * column",
            .source = "an extension of arXiv 2606.15378",
            .parameters = {"E", "A", "B", "alpha", "beta", "ln_window", "nope", "..."},
            .columns = {{"N", "parameters"},
                        {"D", "training tokens"},
                        {"window", "geometric mean of the windows; 0: no window layer", false, false, false},
                        {"nope", "share of full layers without position encoding", false, false, false},
                        {"full_fraction", "full layers / layers", false, false, false},
                        {"sink", "share of attention layers with a sink", false, false, false}},
            .settings = {{"interaction", "1 adds nope*ln_window", 0, 0, 1}, {"curved", "1 adds ln_window^2", 0, 0, 1}}};
  }
  [[nodiscard]] std::unique_ptr<LossModel> on(const LossData& data, const LossSettings& settings) const override {
    std::vector<std::string> terms = {"ln_window", "nope", "no_swa", "ln_full_fraction", "no_full", "sink"};
    if (settings.at("interaction") > 0) terms.emplace_back("nope*ln_window");
    if (settings.at("curved") > 0) terms.emplace_back("ln_window^2");
    const Columns columns = choose_columns(designs_of(data), terms);
    if (columns.names.empty())
      throw InputError(
          "no column tells designs apart: give window, nope, full_fraction or sink, or use law chinchilla");
    return std::make_unique<PowersModel>(data, true, columns.names, [columns](const LossData& rows) {
      const auto designs = designs_of(rows);
      Matrix out(static_cast<Eigen::Index>(designs.size()), static_cast<Eigen::Index>(columns.names.size()));
      for (std::size_t i = 0; i < designs.size(); ++i) {
        const std::vector<double> row = row_of(columns, designs[i]);
        for (std::size_t j = 0; j < row.size(); ++j) out(i, j) = row[j];
      }
      return out;
    });
  }
};

}  // namespace

std::unique_ptr<LossLaw> make_efficiency() {
  return std::make_unique<EfficiencyLaw>();
}

}  // namespace hylas::fitting
