// hylas fit list: every law that can be fitted: its formula, the columns it needs, its parameters and its source.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "fitting/covariates.hpp"
#include "fitting/loss.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/fit.hpp"

namespace hylas::cli {
namespace {

// A law as it is listed. `command` is what fits it.
struct Entry {
  std::string command;
  fitting::LossLawText text;
};

std::vector<fitting::LossColumnText> run_columns(bool counts) {
  return {{"seed", "of the run; seeds are never averaged", true, false},
          {"tokens", "trained on at the evaluation", true, true},
          {"value", "the capability there, in [0, 1]", true, false},
          {"count", "scored positions behind the value", counts, true},
          {"design", "its name; else the covariates tell designs apart", false, false},
          {"N", "parameters, non-embedding", false, true},
          {"window", "geometric mean of the windows; 0: none", false, false},
          {"full_fraction", "full layers / layers", false, false},
          {"nope", "share of full layers without position encoding", false, false},
          {"sink", "share of attention layers with a sink", false, false},
          {"depth", "layers; the term ln_depth needs it", false, true},
          {"width", "d_model; the term ln_width needs it", false, true}};
}

std::vector<Entry> entries() {
  const std::string emergence = "hylas fit emergence --law ", loss = "hylas fit loss --law ";
  const std::string mu = "mu(x) = intercept + sum of terms (ln D50 of a design)";
  std::vector<Entry> list = {
      {emergence + "F3",
       {"F3",
        "time to emergence, interval-censored between evaluations, with a chance 1 - pi of never",
        "S(D|x) = 1 - pi + pi (1 - Phi((ln D - mu(x)) / sigma)), " + mu,
        "Farewell 1982 (cure fraction); Turnbull 1976 (interval censoring)",
        {"intercept", "one a term", "sigma", "pi (or pi:intercept and one a cure term, logit scale)"},
        run_columns(false),
        {}}},
      {emergence + "F1",
       {"F1",
        "the whole curve of each run, with a random shift of its D50 and beta-binomial noise",
        "mean(D) = c0 + (A - c0) sigmoid(k (ln D - mu(x) - u)), u ~ N(0, sigma^2) a run, " + mu,
        "logistic mixed model; u integrated by Gauss-Legendre panels placed for each run",
        {"intercept", "one a term", "c0", "A", "k", "phi", "sigma"},
        run_columns(true),
        {}}}};
  for (const auto& law : fitting::loss_laws()) {
    list.push_back({loss + law.name, law});
    list.back().text.columns.insert(list.back().text.columns.begin(), {"loss", "what is predicted", true, true});
  }
  return list;
}

nlohmann::ordered_json as_json() {
  auto laws = nlohmann::ordered_json::array();
  for (const auto& [command, law] : entries()) {
    auto columns = nlohmann::ordered_json::array(), settings = nlohmann::ordered_json::array();
    for (const auto& c : law.columns) {
      columns.push_back({{"name", c.name}, {"meaning", c.meaning}, {"required", c.required}, {"positive", c.positive}});
    }
    for (const auto& s : law.settings) {
      settings.push_back({{"name", s.name}, {"meaning", s.meaning}, {"default", s.value}, {"range", {s.low, s.high}}});
    }
    laws.push_back({{"name", law.name},
                    {"command", command},
                    {"summary", law.summary},
                    {"formula", law.formula},
                    {"columns", columns},
                    {"settings", settings},
                    {"parameters", law.parameters},
                    {"source", law.source}});
  }
  return {{"laws", laws}, {"terms", fitting::known_terms()}, {"default_terms", fitting::default_terms()}};
}

std::string as_text() {
  std::string text;
  for (const auto& [command, law] : entries()) {
    text += fmt::format("{}: {}\n    {}\n    fitted by   {}\n", law.name, law.summary, law.formula, command);
    for (const bool required : {true, false}) {
      std::vector<std::string> columns;
      for (const auto& c : law.columns) {
        if (c.required == required) columns.push_back(fmt::format("{} ({})", c.name, c.meaning));
      }
      for (std::size_t i = 0; i < columns.size(); ++i) {
        text += fmt::format("    {:<10}  {}\n", i > 0 ? "" : required ? "needs" : "may have", columns[i]);
      }
    }
    for (const auto& s : law.settings) {
      text += fmt::format("    setting     --set {}={} ({}; {} to {})\n", s.name, s.value, s.meaning, s.low, s.high);
    }
    text += fmt::format("    parameters  {}\n    source      {}\n\n", fmt::join(law.parameters, ", "), law.source);
  }
  text += fmt::format("terms of F1 and F3: {}, and any numeric column of a table\nwithout --terms: {}\n",
                      fmt::join(fitting::known_terms(), ", "), fmt::join(fitting::default_terms(), ", "));
  return text;
}

}  // namespace

void add_fit_list(Program& program, CLI::App& parent) {
  auto common = std::make_shared<CommonOptions>();
  add_command(program, parent, "list", "every law: formula, columns it needs, parameters, source", "hylas fit list",
              *common, [common] {
                print(common->json ? as_json().dump(2) : as_text());
                return static_cast<int>(exit_ok);
              });
}

}  // namespace hylas::cli
