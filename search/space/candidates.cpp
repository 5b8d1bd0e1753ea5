// Holes, the odometer over their axes, and the placements of arrangements.
#include "search/space/candidates.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

namespace hylas::search {
namespace {

constexpr std::int64_t kMany = std::numeric_limits<std::int64_t>::max();

std::int64_t saturating_product(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) ? kMany : result;
}

// A text cut at its holes: literal 0, hole 0, literal 1, hole 1, ..., last literal.
struct Template {
  std::vector<std::string> literals;
  std::vector<std::size_t> holes;  // indices of axes
};

class Filler {
 public:
  Filler(const SpaceFile& file, const TomlReader& root) : axes_(file.axes), root_(root) {
    for (const Axis& axis : axes_) names_.push_back(axis.name.text);
  }

  Template cut(const PlacedText& text) {
    Template result;
    std::string literal;
    for (std::size_t i = 0; i < text.text.size(); ++i) {
      const char c = text.text[i];
      if (c == '}') root_.fail(text.place, fmt::format("'}}' without '{{' in {}", in_quotes(text.text)));
      if (c != '{') {
        literal += c;
        continue;
      }
      const std::size_t end = text.text.find('}', i);
      if (end == std::string::npos)
        root_.fail(text.place, fmt::format("'{{' without '}}' in {}", in_quotes(text.text)));
      result.literals.push_back(std::move(literal));
      literal.clear();
      result.holes.push_back(axis_of(text.text.substr(i + 1, end - i - 1), text));
      i = end;
    }
    result.literals.push_back(std::move(literal));
    return result;
  }

  // The axes of these texts in the order in which their holes first appear.
  static std::vector<std::size_t> order(const std::vector<const Template*>& texts) {
    std::vector<std::size_t> result;
    for (const Template* text : texts) {
      for (const std::size_t axis : text->holes) {
        if (std::find(result.begin(), result.end(), axis) == result.end()) result.push_back(axis);
      }
    }
    return result;
  }

  std::int64_t combinations(const std::vector<std::size_t>& order) const {
    std::int64_t count = 1;
    for (const std::size_t axis : order) count = saturating_product(count, std::ssize(axes_[axis].values));
    return count;
  }

  // Calls f with choice[axis] = index of its value, for every combination of the axes in `order`.
  template <class F>
  void odometer(const std::vector<std::size_t>& order, const F& f) const {
    std::vector<std::size_t> choice(axes_.size(), 0);
    while (true) {
      f(choice);
      std::size_t at = order.size();
      while (at > 0 && ++choice[order[at - 1]] == axes_[order[at - 1]].values.size()) choice[order[--at]] = 0;
      if (at == 0) return;
    }
  }

  std::string fill(const Template& text, const std::vector<std::size_t>& choice) const {
    std::string result = text.literals[0];
    for (std::size_t i = 0; i < text.holes.size(); ++i) {
      result += axes_[text.holes[i]].values[choice[text.holes[i]]].text + text.literals[i + 1];
    }
    return result;
  }

  void refuse_unused_axes() const {
    for (std::size_t i = 0; i < axes_.size(); ++i) {
      if (used_.contains(i)) continue;
      const std::string& name = axes_[i].name.text;
      root_.fail(
          axes_[i].name.place,
          fmt::format("no pattern has a hole for the axis {}; write {{{}}} where its values belong, or remove it",
                      in_quotes(name), name.substr(0, 60)));
    }
  }

 private:
  std::size_t axis_of(const std::string& hole, const PlacedText& text) {
    const auto found = std::find(names_.begin(), names_.end(), hole);
    if (found == names_.end()) {
      root_.fail(text.place, fmt::format("no axis fills the hole {} of {}{}; write for example: [axes] {} = [...]",
                                         in_quotes("{" + hole + "}"), in_quotes(text.text), did_you_mean(hole, names_),
                                         is_hole_name(hole) ? hole.substr(0, 60) : "window"));
    }
    const auto index = static_cast<std::size_t>(found - names_.begin());
    used_.insert(index);
    return index;
  }

  const std::vector<Axis>& axes_;
  const TomlReader& root_;
  std::vector<std::string> names_;
  std::set<std::size_t> used_;
};

struct PatternPlan {
  Template text;
  std::vector<std::size_t> order;
};

struct ArrangementPlan {
  Template place, among;
  std::vector<std::size_t> order;
};

// One layer, for an arrangement: a text such as "gdn*2" would change what is being counted.
void require_one_layer(const std::string& layer, const PlacedText& from, const char* key, const TomlReader& root) {
  root.placed_at(from.place, fmt::format("space.arrangement.{} {}: ", key, in_quotes(layer)), [&] {
    const model::Layout layout = model::parse_layout(layer);
    if (layout.layers.size() != 1)
      throw model::InputError(fmt::format("expected one layer, not {}", layout.layers.size()));
  });
}

// The next of the ascending position lists of k among n; false after the last.
bool next_placement(std::vector<std::int64_t>& positions, std::int64_t n) {
  const std::int64_t k = std::ssize(positions);
  for (std::int64_t i = k - 1; i >= 0; --i) {
    const auto at = static_cast<std::size_t>(i);
    if (positions[at] == n - k + i) continue;
    ++positions[at];
    for (std::size_t j = at + 1; j < positions.size(); ++j) positions[j] = positions[j - 1] + 1;
    return true;
  }
  return false;
}

void visit_placements(const Arrangement& a, const std::string& place, const std::string& among, const Candidate& blank,
                      const std::function<void(const Candidate&)>& visit) {
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < a.count; ++i) positions.push_back(i);
  do {
    Candidate candidate = blank;
    std::size_t next = 0;
    for (std::int64_t layer = 0; layer < a.layers; ++layer) {
      const bool placed = next < positions.size() && positions[next] == layer;
      next += placed ? 1 : 0;
      candidate.layout += (layer > 0 ? " " : "") + (placed ? place : among);
    }
    visit(candidate);
  } while (next_placement(positions, a.layers));
}

// Counts before anything is made.
class Budget {
 public:
  Budget(const TomlReader& root, std::size_t shapes) : root_(root), shapes_(static_cast<std::int64_t>(shapes)) {}
  void add(std::int64_t layouts, std::int64_t layers_each, const Place& where, const std::string& what) {
    const std::int64_t candidates = saturating_product(layouts, shapes_);
    if (candidates > kMostCandidates - total_) {
      root_.fail(
          where,
          fmt::format("{} makes {}{} candidates with {} shape{}; the limit is {} in all: use fewer values or layers",
                      what, candidates == kMany ? "over " : "", candidates, shapes_, shapes_ == 1 ? "" : "s",
                      kMostCandidates));
    }
    total_ += candidates;
    layers_ += candidates * layers_each;
    if (layers_ > kMostLayers) {
      root_.fail(where, fmt::format("{} makes the study larger than {} layers over all candidates; use fewer", what,
                                    kMostLayers));
    }
  }

 private:
  const TomlReader& root_;
  std::int64_t shapes_;
  std::int64_t total_ = 0, layers_ = 0;
};

}  // namespace

std::int64_t binomial(std::int64_t n, std::int64_t k) {
  if (k < 0 || k > n) return 0;
  k = std::min(k, n - k);
  std::int64_t result = 1;
  for (std::int64_t i = 1; i <= k; ++i) {  // result = C(n - k + i, i); the division is exact
    const std::int64_t common = std::gcd(result, i);
    result = saturating_product(result / common, (n - k + i) / (i / common));
    if (result == kMany) return kMany;
  }
  return result;
}

void for_each_candidate(const SpaceFile& file, const TomlReader& root,
                        const std::function<void(const Candidate&)>& visit) {
  Filler filler(file, root);
  Budget budget(root, file.shapes.size());
  std::vector<PatternPlan> patterns;
  for (const PlacedText& pattern : file.patterns) {
    PatternPlan plan{filler.cut(pattern), {}};
    plan.order = Filler::order({&plan.text});
    budget.add(filler.combinations(plan.order), 1, pattern.place, "the pattern " + in_quotes(pattern.text));
    patterns.push_back(std::move(plan));
  }
  std::vector<ArrangementPlan> arrangements;
  for (const Arrangement& a : file.arrangements) {
    ArrangementPlan plan{filler.cut(a.place), filler.cut(a.among), {}};
    plan.order = Filler::order({&plan.place, &plan.among});
    const std::int64_t ways = saturating_product(binomial(a.layers, a.count), filler.combinations(plan.order));
    budget.add(ways, a.layers, a.where, fmt::format("the arrangement of {} among {} layers", a.count, a.layers));
    arrangements.push_back(std::move(plan));
  }
  filler.refuse_unused_axes();

  for (std::size_t i = 0; i < patterns.size(); ++i) {
    const PlacedText& pattern = file.patterns[i];
    filler.odometer(patterns[i].order, [&](const std::vector<std::size_t>& choice) {
      visit(Candidate{filler.fill(patterns[i].text, choice), pattern.place, in_quotes(pattern.text)});
    });
  }
  for (std::size_t i = 0; i < arrangements.size(); ++i) {
    const Arrangement& a = file.arrangements[i];
    filler.odometer(arrangements[i].order, [&](const std::vector<std::size_t>& choice) {
      const std::string place = filler.fill(arrangements[i].place, choice);
      const std::string among = filler.fill(arrangements[i].among, choice);
      require_one_layer(place, a.place, "place", root);
      require_one_layer(among, a.among, "among", root);
      visit_placements(a, place, among, {"", a.where, "an arrangement"}, visit);
    });
  }
}

}  // namespace hylas::search
