// [findings] of a space file: read, stored as part of what the study is, and refused where it says nothing.
#include <nlohmann/json.hpp>

#include "search/space/space.hpp"
#include "tests/catch.hpp"

using namespace hylas;
using search::parse_space;

namespace {

std::string space(const std::string& findings) {
  return R"([study]
name = "s"
[shape]
d_model = 16
heads = 1
ffn = 0
context = 32
[space]
patterns = ["(swa:4 full)*2"]
[task]
name = "recall"
keys = 8
values = 8
[recipe]
steps = 12
)" + findings;
}

std::string refusal(const std::string& findings) {
  try {
    (void)parse_space(space("[findings]\n" + findings), "s.toml");
  } catch (const model::InputError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("[findings] is part of what a study is", "[findings]") {
  const auto with = parse_space(space("[findings]\npart = \"sizes\"\nsmall_window = 4\nhold_out_windows = [8, 16]\n"));
  REQUIRE(with.registration);
  CHECK(with.registration->part == "sizes");
  CHECK(with.registration->small_window == 4);
  CHECK(with.registration->hold_out_windows == std::vector<std::int64_t>{8, 16});
  const auto stored = nlohmann::json::parse(with.canonical_json())["findings"];
  CHECK(stored["part"] == "sizes");
  CHECK(stored["short_margin"] == with.registration->short_margin);
  const auto other = parse_space(space("[findings]\npart = \"sizes\"\nsmall_window = 8\nhold_out_windows = [8, 16]\n"));
  CHECK(with.canonical_json() != other.canonical_json());  // so that sweeps refuse a changed one
  const auto without = parse_space(space(""));
  CHECK_FALSE(without.registration);
  CHECK_FALSE(nlohmann::json::parse(without.canonical_json()).contains("findings"));
}

TEST_CASE("[findings] refuses what says nothing, with its place", "[findings]") {
  CHECK(refusal("part = \"cores\"").find("s.toml:17:8: findings.part must be of core") == 0);
  CHECK(refusal("part = \"cores\"").find("did you mean 'core'?") != std::string::npos);
  CHECK(refusal("alpha = 0.7").find("findings.alpha must lie between 0 and 0.5") != std::string::npos);
  CHECK(refusal("equal_factor = 1").find("findings.equal_factor") != std::string::npos);
  CHECK(refusal("law = [\"ln_windw\"]").find("did you mean 'ln_window'?") != std::string::npos);
  CHECK(refusal("cure = [\"no\"]").find("findings.cure must be of") != std::string::npos);
  CHECK(refusal("hold_out_windows = [0]").find("findings.hold_out_windows must be 1 or more") != std::string::npos);
  CHECK(refusal("margin = 1").find("unknown key 'margin'") != std::string::npos);
}
