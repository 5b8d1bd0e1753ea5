// Bad space files: every message has file, line and column, what was expected and the nearest name; nothing crashes.
#include <chrono>
#include <filesystem>
#include <random>

#include "search/space/embedded.hpp"
#include "search/space/space.hpp"
#include "tests/catch.hpp"

using namespace hylas;
using namespace hylas::search;

namespace {

// Line 1 is [study]; the numbers in the tests below count from there.
const std::string kGood = R"([study]
name = "test"
[shape]
d_model = 32
heads = 1
ffn = 96
context = 64
[space]
patterns = ["(swa:{window} full)*2", "full*4"]
[[space.arrangement]]
layers = 4
count = 2
place = "full"
among = "swa:{window}"
[axes]
window = [4, 16]
[filter]
max_parameters = 1_000_000
[task]
keys = 16
[recipe]
steps = 100
learning_rate = [1e-3, 2e-3]
seeds = 3
[recipe.schedule]
kind = "cosine"
[recipe.eval]
growth = 0.08
[capability]
metric = "accuracy/far"
[strategy]
kind = "random"
trials = 5
)";

std::string error_of(const std::string& text) {
  try {
    (void)parse_space(text, "bad.toml");
  } catch (const model::InputError& error) {
    return error.what();
  }
  return "";
}

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("The file that the error tests change is good") {
  CHECK(error_of(kGood).empty());
}

TEST_CASE("Each mistake in a space file is named with its place") {
  struct Case {
    const char *from, *to;
    const char* where;
    std::vector<const char*> parts;
  };
  const std::vector<Case> cases = {
      // Unknown keys at every level.
      {"[filter]",
       "[fliter]",
       "17:2:",
       {"unknown key 'fliter' in the file", "did you mean 'filter'?", "expected one of: study"}},
      {"name", "nmae", "2:1:", {"unknown key 'nmae' in [study]", "did you mean 'name'?"}},
      {"d_model", "dmodel", "4:1:", {"did you mean 'd_model'?"}},
      {"patterns", "pattern", "9:1:", {"did you mean 'patterns'?"}},
      {"count", "cuont", "12:1:", {"in [space.arrangement]", "did you mean 'count'?"}},
      {"max_parameters", "max_params", "18:1:", {"unknown key 'max_params'", "max_parameters"}},
      {"keys", "kyes", "20:1:", {"did you mean 'keys'?"}},
      {"learning_rate", "lr", "23:1:", {"unknown key 'lr' in [recipe]", "learning_rate"}},
      {"kind = \"cosine\"", "knd = \"cosine\"", "26:1:", {"in [recipe.schedule]", "did you mean 'kind'?"}},
      {"growth", "grow", "28:1:", {"in [recipe.eval]", "did you mean 'growth'?"}},
      {"metric", "metrics", "30:1:", {"did you mean 'metric'?"}},
      {"trials", "trails", "33:1:", {"in [strategy]", "did you mean 'trials'?"}},
      // Wrong types.
      {"d_model = 32", "d_model = \"32\"", "4:11:", {"shape.d_model must be a whole number, not the string '32'"}},
      {"heads = 1", "heads = 1.5", "5:9:", {"shape.heads must be a whole number, not the number 1.5"}},
      {"steps = 100", "steps = true", "22:9:", {"recipe.steps must be a whole number, not true"}},
      {"seeds = 3", "seeds = [1, \"2\"]", "24:13:", {"an element of recipe.seeds must be a whole number"}},
      {"name = \"test\"", "name = 7", "2:8:", {"study.name must be a string, not the whole number 7"}},
      {"window = [4, 16]", "window = 4", "16:10:", {"axes.window must be a list"}},
      {"window = [4, 16]", "window = []", "16:10:", {"at least one element"}},
      {"window = [4, 16]", "window = [4, 1.5]", "16:14:", {"a string or a whole number, not the number 1.5"}},
      {"\"full*4\"]", "4.5]", "9:38:", {"an element of space.patterns"}},
      {"[recipe.eval]\ngrowth = 0.08", "[recipe.eval]\ngrowth = 1979-05-27", "28:10:", {"a number, not a date"}},
      {"[recipe.schedule]\nkind = \"cosine\"", "schedule = \"cosine\"", "25:12:", {"recipe.schedule must be a table"}},
      // Missing.
      {"name = \"test\"\n", "", "1:1:", {"study.name is missing", "name = \"my-study\""}},
      {"heads = 1\n", "", "3:1:", {"shape.heads is missing"}},
      {"steps = 100\n", "", "21:1:", {"recipe.steps is missing", "steps = 2000"}},
      {"count = 2\n", "", "10:", {"space.arrangement.count is missing"}},
      {"trials = 5", "", "31:1:", {"strategy.trials is missing"}},
      // Values.
      {"heads = 1", "heads = 5", "5:9:", {"heads must divide d_model (32 / 5)"}},
      {"heads = 1", "heads = 0", "5:9:", {"shape: heads must be from 1"}},
      {"ffn = 96", "ffn = 96\nkv_heads = 3", "7:12:", {"kv_heads must divide heads"}},
      {"context = 64", "context = 63", "7:11:", {"context must be an even number"}},
      {"ffn = 96", "ffn = 96\nvocab = 20", "", {"vocab must be at least 32 for the task recall, not 20"}},
      {"keys = 16", "keys = 0", "20:8:", {"task.keys must be from 1"}},
      {"keys = 16", "name = \"mqr\"", "20:8:", {"task.name: there is no task 'mqr'"}},
      {"steps = 100", "steps = 0", "22:9:", {"recipe.steps must be from 1"}},
      {"steps = 100", "steps = 100\ntokens = 1000", "23:10:", {"both steps and tokens"}},
      {"steps = 100", "tokens = 0.5", "22:10:", {"recipe.tokens must be a whole number"}},
      {"steps = 100", "steps = 100\nbatch = 0", "23:9:", {"recipe.batch"}},
      {"[1e-3, 2e-3]", "[1e-3, -2e-3]", "23:17:", {"recipe.learning_rate must be over 0, not -0.002"}},
      {"[1e-3, 2e-3]", "[1e-3, nan]", "23:17:", {"recipe.learning_rate must be over 0, not nan"}},
      {"[1e-3, 2e-3]", "[1e-3, 0.001]", "23:17:", {"recipe.learning_rate holds 0.001 twice"}},
      {"seeds = 3", "seeds = 0", "24:9:", {"recipe.seeds must be a number of seeds from 1"}},
      {"seeds = 3", "seeds = [1, 2, 1]", "24:9:", {"recipe.seeds holds 1 twice"}},
      {"seeds = 3", "seeds = [-1]", "24:9:", {"recipe.seeds must be 0 or more"}},
      {"\"cosine\"",
       "\"cosin\"",
       "26:8:",
       {"recipe.schedule.kind must be constant, cosine or wsd", "did you mean 'cosine'?"}},
      {"growth = 0.08", "growth = -1", "28:10:", {"recipe.eval.growth must be 0 or more"}},
      {"growth = 0.08",
       "growth = 0.08\n[recipe.window_growth]\nstart = 8\nsteps = 100",
       "31:9:",
       {"recipe.window_growth.steps must be 1 or more and under the recipe's steps (100), not 100"}},
      {"growth = 0.08",
       "growth = 0.08\n[recipe.window_growth]\nstart = -8\nsteps = 10",
       "30:9:",
       {"recipe.window_growth.start must be 1 or more, not -8"}},
      {"growth = 0.08",
       "growth = 0.08\n[recipe.window_growth]\nstart = 8",
       "29:",
       {"recipe.window_growth.steps must be 1 or more"}},
      {"growth = 0.08",
       "growth = 0.08\n[recipe.window_growth]\nsteps = 10",
       "29:",
       {"recipe.window_growth.start must be 1 or more, not 0"}},
      {"growth = 0.08",
       "growth = 0.08\n[recipe.window_growth]\nbegin = 8\nsteps = 10",
       "30:1:",
       {"in [recipe.window_growth]", "expected one of: start"}},
      {"accuracy/far", "acuracy/far", "30:10:", {"did you mean 'accuracy/far'?"}},
      {"\"random\"", "\"rnadom\"", "32:8:", {"strategy.kind must be grid or random", "did you mean 'random'?"}},
      {"kind = \"random\"", "kind = \"grid\"", "33:10:", {"strategy.trials belongs to kind = \"random\""}},
      {"trials = 5",
       "trials = 10000",
       "33:10:",
       {"strategy.trials is 10000, but 13 designs x 6 recipes are 78 trials"}},
      {"max_parameters = 1_000_000", "max_parameters = 1", "17:", {"no design is left"}},
      {"max_parameters = 1_000_000", "min_parameters = 2\nmax_parameters = 1", "18:18:", {"filter.min_parameters"}},
      {"count = 2", "count = 5", "12:9:", {"from 0 to its 4 layers"}},
      {"layers = 4", "layers = 2000", "11:10:", {"from 1 to 1024"}},
      {"name = \"test\"", "name = \"\"", "2:8:", {"must not be empty"}},
      // Layouts, holes and axes.
      {"(swa:{window} full)*2",
       "(swq:{window} full)*2",
       "9:13:",
       {"'(swq:{window} full)*2' as '(swq:4 full)*2'", "line 1, column 2", "did you mean 'swa'?"}},
      {"full*4", "full *4", "9:38:", {"layout, line 1, column 6"}},
      {"\"full*4\"", "\"full{nope}\"", "9:38:", {"no axis fills the hole '{nope}' of 'full{nope}'"}},
      {"full)*2", "full{windw})*2", "9:13:", {"no axis fills the hole '{windw}'", "did you mean 'window'?"}},
      {"full)*2", "full{)*2", "9:13:", {"'{' without '}'"}},
      {"full)*2", "full})*2", "9:13:", {"'}' without '{'"}},
      {"window = [4, 16]", "window = [4, 16]\nnope = [\"\"]", "17:1:", {"no pattern has a hole for the axis 'nope'"}},
      {"window = [4, 16]", "window = [4, 16]\n\"a b\" = [\"\"]", "17:1:", {"axes: a name is letters"}},
      {"window = [4, 16]", "window = [4, 16]\n\"a\\u0000b\" = [\"\"]", "17:1:", {"axes: a name is letters"}},
      {"window = [4, 16]", "window = [4, \"x\"]", "9:13:", {"expected a window from 1"}},
      {"place = \"full\"",
       "place = \"full*2\"",
       "13:9:",
       {"space.arrangement.place 'full*2': expected one layer, not 2"}},
      {"place = \"full\"", "place = \"fulll\"", "13:9:", {"did you mean 'full'?"}},
      // TOML itself.
      {"[axes]", "[axes", "15:", {"not valid TOML"}},
      {"steps = 100", "steps = 100\nsteps = 100", "23:", {"not valid TOML"}},
      {"steps = 100", "steps = = 100", "22:", {"not valid TOML"}},
  };
  for (const Case& c : cases) {
    const std::string message = error_of(replaced(c.from, c.to));
    CAPTURE(c.from, c.to, message);
    CHECK(message.rfind("bad.toml:" + std::string(c.where), 0) == 0);
    for (const char* part : c.parts) {
      CAPTURE(part);
      CHECK(contains(message, part));
    }
  }
}

TEST_CASE("A space without layouts, shape or study says what to write") {
  CHECK(contains(error_of(""), "study.name is missing"));
  CHECK(contains(error_of("[study]\nname = \"x\"\n"), "[shape] is missing"));
  CHECK(
      contains(error_of("[study]\nname = \"x\"\n[shape]\nd_model=8\nheads=1\nffn=0\ncontext=8\n"), "yields no layout"));
}

TEST_CASE("Mamba-2 on a width it cannot split is refused at its pattern") {
  std::string text = replaced("\"full*4\"", "\"mamba2*4\"");
  text.replace(text.find("d_model = 32"), 12, "d_model = 36");
  CHECK(error_of(text).rfind("bad.toml:9:38: 'mamba2*4' as 'mamba2*4': mamba2 needs d_model", 0) == 0);
}

TEST_CASE("Spaces beyond the limits are refused before anything is enumerated") {
  const auto start = std::chrono::steady_clock::now();
  CHECK(contains(error_of(replaced("layers = 4\ncount = 2", "layers = 60\ncount = 30")), "the limit is 100000"));
  CHECK(contains(error_of(replaced("layers = 4\ncount = 2", "layers = 1024\ncount = 512")), "the limit is 100000"));
  CHECK(contains(error_of(replaced("layers = 4\ncount = 2", "layers = 300\ncount = 2")), "layers over all candidates"));
  CHECK(contains(error_of(replaced("seeds = 3", "seeds = 10000")), "the limit is 100000"));
  std::string axes, pattern;
  for (int i = 0; i < 40; ++i) {
    axes += "a" + std::to_string(i) + " = [1, 2, 3]\n";
    pattern += " swa:{a" + std::to_string(i) + "}";
  }
  std::string text = replaced("window = [4, 16]\n", "window = [4, 16]\n" + axes);
  text.replace(text.find("full*4"), 6, pattern);
  CHECK(contains(error_of(text), "the limit is 100000"));
  // Counting takes microseconds; enumerating any of these would take minutes or all memory.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("Hostile files end in an error, not in a crash") {
  const std::size_t megabyte = 1 << 20;
  std::string dotted = "a";
  while (dotted.size() < megabyte) dotted += ".a";
  std::string headers;
  for (int i = 0; i < 20000; ++i) headers += "[a" + std::to_string(i) + "]\n";
  const std::vector<std::string> texts = {dotted + " = 1",
                                          "[" + dotted + "]",
                                          "[[" + dotted + "]]",
                                          "x = {" + dotted + " = 1}",
                                          "x = " + std::string(megabyte, '['),
                                          "x = " + std::string(megabyte, '{'),
                                          std::string(megabyte, '\0'),
                                          std::string(megabyte, '\xff'),
                                          headers,
                                          std::string(megabyte, '"'),
                                          "\"" + std::string(megabyte, 'a'),
                                          "x = \"\"\"" + std::string(megabyte, '"'),
                                          "[)x]",
                                          "[[=]]",
                                          "[",
                                          "a.",
                                          "a. = 1",
                                          "= 1",
                                          std::string(megabyte, '.'),
                                          std::string(std::size_t{17} << 20, ' '),
                                          "\xef\xbb\xbf[study",
                                          "x = '''\n'''\n" + dotted + " = 1",
                                          "x = \"\\\"\"\n" + dotted + " = 1",
                                          "# \"\n" + dotted + " = 1"};
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string message = error_of(texts[i]);
    CAPTURE(i, message.substr(0, 200));
    CHECK(message.rfind("bad.toml:", 0) == 0);
    CHECK(message.size() < 2000);
  }
}

TEST_CASE("Random changes of the template parse or throw InputError") {
  const std::string original = template_space;
  const std::string characters = "\"'[]{}=.,#\n0159aeEnx*/:() -_+\\\xc3";
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    std::string text = original;
    for (std::uint32_t i = random() % 4 + 1; i > 0; --i) {
      const std::size_t at = random() % text.size();
      const char c = characters[random() % characters.size()];
      switch (random() % 3) {
        case 0: text[at] = c; break;
        case 1: text.insert(at, 1, c); break;
        default: text.erase(at, random() % 8 + 1);
      }
    }
    CAPTURE(seed);
    try {
      (void)parse_space(text);
    } catch (const model::InputError& error) {
      REQUIRE(std::string(error.what()).rfind("space:", 0) == 0);
    }
  }
}

TEST_CASE("load_space names a file that cannot be read") {
  const auto message = [](const std::filesystem::path& path) {
    try {
      (void)load_space(path);
    } catch (const model::InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(contains(message("/nonexistent/x.toml"), "/nonexistent/x.toml"));
  CHECK(contains(message("/nonexistent/x.toml"), "hylas init"));
  CHECK(contains(message(std::filesystem::temp_directory_path()), "is a folder"));
}
