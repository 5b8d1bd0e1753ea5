// The layout grammar: what it accepts, what it says about what it does not, and the canonical form.
#include <chrono>
#include <map>
#include <random>
#include <set>

#include "model/design/layout.hpp"
#include "tests/catch.hpp"

using namespace hylas::model;

namespace {

std::string canonical(std::string_view text, std::int64_t context = 1 << 20) {
  return canonical_text(normalise(parse_layout(text), context));
}

std::string error_of(std::string_view text) {
  try {
    (void)parse_layout(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("A layout expands to its layers with windows and attributes") {
  const Layout layout = parse_layout("  (swa:128 full/nope)*2\n\tgdn/nope  full/sink/nope lightning*2 ");
  const Layer swa{Mixer::swa, 128, true, false}, nope{Mixer::full, 0, false, false}, gdn{Mixer::gdn, 0, false, false},
      both{Mixer::full, 0, false, true}, lightning{Mixer::lightning, 0, false, false};
  CHECK(layout.layers == std::vector<Layer>{swa, nope, swa, nope, gdn, both, lightning, lightning});
}

TEST_CASE("Brackets nest, and blanks are free at the ends and inside brackets only") {
  CHECK(canonical("((full swa:4)*2 gdn)*3") == "(full swa:4 full swa:4 gdn)*3");
  CHECK(canonical("( full\t\n swa:4 )*2") == "(full swa:4)*2");
  CHECK(canonical("((((((((((((((((full))))))))))))))))") == "full");
  for (const char* bad : {"full *4", "full* 4", "swa: 4", "swa :4", "full /nope", "full/ nope", "(full)(full)",
                          "full(full)", "(full)full", "(full )* 2"}) {
    CAPTURE(bad);
    CHECK_FALSE(error_of(bad).empty());
  }
}

TEST_CASE("Numbers have no sign, no leading zero, and limits") {
  CHECK(parse_layout("swa:2147483647").layers[0].window == 2147483647);
  CHECK(parse_layout("full*1024").layers.size() == 1024);
  CHECK(parse_layout("(full*32)*32").layers.size() == 1024);
  for (const char* bad : {"swa:0",
                          "swa:-1",
                          "swa:+1",
                          "swa:01",
                          "swa:2147483648",
                          "swa:99999999999999999999999999",
                          "swa:1.5",
                          "swa:",
                          "swa",
                          "full*0",
                          "full*1025",
                          "full*",
                          "full*2*2",
                          "full**2",
                          "full*02",
                          "(full*32)*33",
                          "full*1024 full",
                          "full*1023 (full full)",
                          "((((full*1024)*1024)*1024)*1024)*1024",
                          "swa:4x"}) {
    CAPTURE(bad);
    CHECK_FALSE(error_of(bad).empty());
  }
}

TEST_CASE("Errors name the line, the column, what was expected, the text found and the nearest name") {
  struct Case {
    const char* text;
    std::vector<const char*> parts;
  };
  const std::vector<Case> cases = {
      {"swq:128", {"line 1, column 1", "expected a layer", "'swq:128'", "did you mean 'swa'?"}},
      {"full swa:4\n  ful", {"line 2, column 3", "'ful'", "did you mean 'full'?"}},
      {"full lightening*2", {"line 1, column 6", "did you mean 'lightning'?"}},
      {"FULL", {"did you mean 'full'?"}},
      {"swa128", {"line 1, column 1", "did you mean 'swa:128'?"}},
      {"full/nop", {"line 1, column 6", "expected an attribute (nope, sink)", "'nop'", "did you mean 'nope'?"}},
      {"full/nope/nope", {"line 1, column 11", "stands twice"}},
      {"swa:4/sink/nope/sink", {"line 1, column 17", "stands twice"}},
      {"gdn/nope/nope", {"column 10", "stands twice"}},
      {"mamba2/sink", {"line 1, column 8", "a sink needs attention", "mamba2"}},
      {"full:128", {"line 1, column 5", "full takes no window"}},
      {"swa", {"line 1, column 4", "a window after swa", "the end of the text"}},
      {"swa:{window} full", {"line 1, column 5", "expected a window from 1 to 2147483647", "'{window}'"}},
      {"(full swa:4", {"line 1, column 1", "never closed"}},
      {"full (gdn", {"line 1, column 6", "never closed"}},
      {"full)", {"line 1, column 5", "closes nothing"}},
      {"", {"line 1, column 1", "expected a layer", "the end of the text"}},
      {"()", {"line 1, column 2", "expected a layer"}},
      {"full *4", {"line 1, column 6", "without a blank"}},
      {"full é", {"line 1, column 6"}},
      {"é", {"line 1, column 1"}},
      {"full*1025", {"line 1, column 6", "a count from 1 to 1024", "'1025'"}},
      {"gdn (full*32)*33", {"line 1, column 5", "at most 1024 layers", "1057"}},
      {"(((((((((((((((((full)))))))))))))))))", {"line 1, column 17", "at most 16 deep"}},
  };
  for (const Case& c : cases) {
    const std::string message = error_of(c.text);
    for (const char* part : c.parts) {
      CAPTURE(c.text, message, part);
      CHECK(contains(message, part));
    }
  }
}

TEST_CASE("Hostile texts of a megabyte end at once with a short message") {
  const std::size_t megabyte = 1 << 20;
  std::vector<std::string> texts = {std::string(megabyte, '('),           std::string(megabyte, ')'),
                                    std::string(megabyte, ' '),           std::string(megabyte, 'f'),
                                    std::string(megabyte, '\0'),          std::string(megabyte, '*'),
                                    std::string(megabyte, '/'),           "swa:" + std::string(megabyte, '9'),
                                    "full*" + std::string(megabyte, '1'), std::string(megabyte, '\xff')};
  std::string many;
  while (many.size() < megabyte) many += "full ";
  texts.push_back(many);
  std::string attributes = "full";
  while (attributes.size() < megabyte) attributes += "/sink";
  texts.push_back(attributes);
  std::string groups;
  while (groups.size() < megabyte) groups += "(((full)*1)*1)*1 ";
  texts.push_back(groups);
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& text : texts) {
    const std::string message = error_of(text);
    CHECK_FALSE(message.empty());
    CHECK(message.size() < 300);
    for (const char c : message) CHECK(static_cast<unsigned char>(c) >= 0x20);
  }
  // 13 MB in all: a linear reader needs a few milliseconds; anything quadratic would need hours.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(canonical(std::string(megabyte, ' ') + "full" + std::string(megabyte, '\n')) == "full");
}

TEST_CASE("Random texts of the grammar's characters either parse or throw InputError") {
  const std::vector<std::string> pieces = {"full", "swa:", "swa:8", "gdn",       "mamba2", "/nope", "/sink",
                                           "*2",   "*",    "(",     ")",         " ",      "0",     "1024",
                                           "{x}",  "\n",   ":",     "lightning", "\xc3"};
  for (std::uint32_t seed = 0; seed < 20000; ++seed) {
    std::mt19937 random(seed);
    std::string text;
    for (std::uint32_t i = random() % 12; i > 0; --i) text += pieces[random() % pieces.size()];
    CAPTURE(seed, text);
    try {
      const Layout layout = parse_layout(text);
      REQUIRE_FALSE(layout.layers.empty());
      REQUIRE(layout.layers.size() <= 1024);
      REQUIRE(parse_layout(canonical_text(layout)) == layout);
    } catch (const InputError&) {
    }
  }
}

TEST_CASE("Canonical form: windows at the context become full, order of attributes, NoPE of recurrent mixers dropped") {
  CHECK(canonical("swa:9999*4", 512) == "full*4");
  CHECK(canonical("swa:512/nope", 512) == "full/nope");
  CHECK(canonical("swa:511", 512) == "swa:511");
  CHECK(canonical("full/sink/nope") == "full/nope/sink");
  CHECK(canonical("swa:8/sink/nope") == "swa:8/nope/sink");
  CHECK(canonical("gdn/nope") == "gdn");
  CHECK(canonical("(full full)*2") == "full*4");
  CHECK(canonical("full") == "full");
  CHECK(canonical("full*1") == "full");
  CHECK(canonical("(swa:4 swa:4 full)*1") == "swa:4*2 full");
  CHECK(canonical("swa:4 full swa:4 full") == "(swa:4 full)*2");
  CHECK(canonical("swa:4*3 full*2 swa:4*3 full*2") == "(swa:4*3 full*2)*2");
  CHECK(canonical("swa:4 full swa:4") == "swa:4 full swa:4");
  CHECK(canonical("gdn full gdn full gdn") == "gdn full gdn full gdn");
}

// DESIGN's rule written down a second time, without sharing code: least divisor p with x[i] = x[i mod p] by brute
// force, then maximal runs of x[0..p).
static std::string reference_canonical(const std::vector<std::string>& x) {
  const std::size_t n = x.size();
  std::size_t p = 0;
  for (std::size_t q = n; q >= 1; --q) {
    bool holds = n % q == 0;
    for (std::size_t i = 0; i < n; ++i) holds = holds && x[i] == x[i % q];
    if (holds) p = q;
  }
  if (p == 1) return n == 1 ? x[0] : x[0] + "*" + std::to_string(n);
  std::vector<std::pair<std::string, int>> runs;
  for (std::size_t i = 0; i < p; ++i) {
    if (!runs.empty() && runs.back().first == x[i]) {
      ++runs.back().second;
    } else {
      runs.emplace_back(x[i], 1);
    }
  }
  std::string inside;
  for (const auto& [name, count] : runs) {
    inside += (inside.empty() ? "" : " ") + name + (count > 1 ? "*" + std::to_string(count) : "");
  }
  return p == n ? inside : "(" + inside + ")*" + std::to_string(n / p);
}

// All layouts of up to `depth` layers over `mixers`: canonical texts are unique, parse back to the layout, are fixed
// points and follow the rule as DESIGN states it.
static void check_all_layouts(const std::vector<std::string>& mixers, std::size_t depth, std::size_t expected) {
  std::set<std::string> seen;
  std::size_t layouts = 0;
  for (std::size_t n = 1; n <= depth; ++n) {
    std::vector<std::size_t> digits(n, 0);
    while (true) {
      std::vector<std::string> names;
      std::string spaced;
      for (const std::size_t digit : digits) {
        names.push_back(mixers[digit]);
        spaced += mixers[digit] + " ";
      }
      const Layout layout = parse_layout(spaced);
      const std::string text = canonical_text(layout);
      CAPTURE(spaced, text);
      ++layouts;
      if (!seen.insert(text).second) FAIL("two layouts share the canonical text " << text);
      if (!(parse_layout(text) == layout)) FAIL("the canonical text means another layout: " << text);
      if (canonical_text(parse_layout(text)) != text) FAIL("not idempotent: " << text);
      if (text != reference_canonical(names))
        FAIL(text << " is not the form of DESIGN: " << reference_canonical(names));
      std::size_t at = n;
      while (at > 0 && ++digits[at - 1] == mixers.size()) digits[--at] = 0;
      if (at == 0) break;
    }
  }
  CHECK(layouts == expected);
}

TEST_CASE("Canonical form is unique and idempotent over all layouts of up to 5 layers from 5 mixers") {
  check_all_layouts({"full", "swa:8", "gdn", "mamba2", "lightning"}, 5, 5 + 25 + 125 + 625 + 3125);
}

TEST_CASE("Canonical form over all layouts of up to 12 layers from 2 kinds, where periods and runs meet") {
  check_all_layouts({"full/nope", "swa:8/sink"}, 12, 8190);
}
