// See statement.hpp.
#include "search/findings/statement.hpp"

#include <cmath>

namespace hylas::search {

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::supported: return "supported";
    case Verdict::refuted: return "refuted";
    case Verdict::undecided: break;
  }
  return "undecided";
}

nlohmann::ordered_json to_json(const Statement& statement) {
  using Json = nlohmann::ordered_json;
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  Json evidence = Json::array();
  for (const Measure& e : statement.evidence) {
    evidence.push_back({{"what", e.what},
                        {"estimate", number(e.estimate)},
                        {"low", number(e.low)},
                        {"high", number(e.high)},
                        {"unit", e.unit},
                        {"reading", e.reading}});
  }
  return {{"id", statement.id},   {"claim", statement.claim}, {"verdict", to_string(statement.verdict)},
          {"why", statement.why}, {"evidence", evidence},     {"notes", statement.notes}};
}

}  // namespace hylas::search
