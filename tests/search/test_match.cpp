// [match] of space files: designs of equal parameters, FLOPs or cache, and what cannot be matched.
#include <cmath>

#include "model/design/cost.hpp"
#include "search/space/match.hpp"
#include "search/space/space.hpp"
#include "tests/catch.hpp"

using namespace hylas;
using search::parse_space;

namespace {

std::string space(const std::string& match, const std::string& patterns, std::int64_t ffn = 384) {
  return "[study]\nname = \"arms\"\n[shape]\nd_model = 128\nheads = 4\nffn = " + std::to_string(ffn) +
         "\ncontext = 512\n[space]\npatterns = [" + patterns + "]\n[match]\n" + match +
         "\n[task]\nname = \"recall\"\n[recipe]\nsteps = 100\n";
}

const std::string kArms =
    R"("(swa:64 full)*2", "full*4", "(gdn full)*2", "(mamba2 full)*2", "(lightning full)*2", "swa:8*3 full/sink")";

std::string refusal(const std::string& text) {
  try {
    (void)parse_space(text, "s.toml");
  } catch (const model::InputError& error) {
    return error.what();
  }
  return {};
}

double quantity(const model::Design& design, search::MatchQuantity what) {
  search::Match match;
  match.quantity = what;
  return search::quantity_of(match, design);
}

}  // namespace

// Proves what matched arms are for: no two of them differ by 1%, in each quantity; widths stay round, layouts what they
// were.
TEST_CASE("[match] chooses feed-forward widths of equal parameters and equal FLOPs") {
  const search::Space plain = parse_space(space("within = 0.99", kArms));  // the widths as written are within that
  for (const auto& [name, what] : {std::pair{"parameters", search::MatchQuantity::parameters},
                                   std::pair{"flops_per_token", search::MatchQuantity::flops_per_token}}) {
    INFO(name);
    const search::Space arms = parse_space(space("quantity = \"" + std::string(name) + "\"", kArms));
    REQUIRE(arms.designs.size() == 6);
    REQUIRE(arms.differences.size() == 6);
    double least = 1e300, most = 0;
    for (std::size_t i = 0; i < arms.designs.size(); ++i) {
      const double value = quantity(arms.designs[i], what);
      least = std::min(least, value), most = std::max(most, value);
      CHECK(arms.designs[i].layout_text() == plain.designs[i].layout_text());
      CHECK(plain.designs[i].shape.ffn == 384);
      CHECK(std::abs(arms.differences[i]) < 0.005);
      CHECK(arms.designs[i].shape.ffn % 4 == 0);
    }
    CHECK(most / least < 1.01);
    CHECK(arms.designs[0].shape.ffn == 384);  // the reference
    CHECK(arms.designs[3].shape.ffn < 384);   // Mamba-2's mixer is larger than attention's
  }
}

// Proves that windows are chosen for equal caches, that what was chosen is what is trained, and `to`.
TEST_CASE("[match] chooses windows of equal cache bytes") {
  const search::Space arms = parse_space(
      space("quantity = \"cache_bytes\"\nto = \"(mamba2 full)*2\"", R"("(swa:4 full)*2", "(swa:300 full)*2")"));
  const model::Shape& shape = arms.designs[0].shape;
  const double target = quantity(model::Design::make("(mamba2 full)*2", shape), search::MatchQuantity::cache_bytes);
  REQUIRE(arms.designs.size() == 1);  // both become the same design
  CHECK(arms.counts.duplicates == 1);
  CHECK(std::abs(quantity(arms.designs[0], search::MatchQuantity::cache_bytes) / target - 1) < 0.005);
  CHECK(arms.designs[0].layout.layers[0].window > 4);
  CHECK(shape.ffn == 384);
  CHECK(arms.trials[0].design.id() == arms.designs[0].id());
}

// Proves that what cannot be matched is said, with the design, where it stands and the nearest that could be had.
TEST_CASE("[match] refuses what it cannot reach and what makes no sense") {
  const std::pair<std::string, const char*> cases[] = {
      {space("quantity = \"cache_bytes\"", kArms), "full*4: match: no window brings its cache_bytes"},
      {space("quantity = \"cache_bytes\"", kArms), "it has no sliding window"},
      {space("quantity = \"parameters\"", R"("full*4", "(mamba2 full)*2")", 0), "it has no feed-forward block"},
      {space("quantity = \"parameters\"\nto = \"full*2\"", R"("full*8")", 4), "the nearest is"},
      {space("quantity = \"parametrs\"", kArms), "did you mean 'parameters'"},
      {space("by = \"window\"", kArms), "match.by must be ffn for parameters"},
      {space("quantity = \"cache_bytes\"\nby = \"ffn\"", kArms), "feed-forward blocks keep no cache"},
      {space("within = 0", kArms), "match.within must be between 0 and 1"},
      {space("within = nan", kArms), "match.within must be between 0 and 1"},
      {space("to = \"ful*4\"", kArms), "match.to"},
      {space("too = \"full*4\"", kArms), "did you mean"},
  };
  for (const auto& [text, part] : cases) {
    const std::string message = refusal(text);
    CAPTURE(message, part);
    CHECK(message.find(part) != std::string::npos);
    CHECK(message.starts_with("s.toml:"));
  }
}
