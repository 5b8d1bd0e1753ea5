// Real text as a task: sequences are pieces of the right part, needles lie where the draws say and are asked for at the
// end, evaluation windows never repeat, LongPPL is what a plain sort gives, and bad corpora are refused by name.
#include <cmath>
#include <fstream>
#include <random>
#include <set>

#include "model/data/tasks/text.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/recipe.hpp"
#include "tests/model/test_task_support.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::model {
namespace {

using Given = std::map<std::string, TaskValue>;

// Bytes without needles' words, no two pieces of 8 alike with any likelihood: a position is known by what follows.
std::string random_text(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>(random() % 256);
  return text;
}

std::string written(const test::TempDir& dir, const std::string& text, const char* name = "text.txt") {
  const std::string path = (dir.path() / name).string();
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string bytes_of(const std::vector<std::int32_t>& tokens) {
  std::string text;
  for (const std::int32_t token : tokens) text += static_cast<char>(token);
  return text;
}

template <class F>
std::string refusal(const F& f) {
  try {
    f();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

// Proves that 10,000 sequences are pieces of the training part, evenly from all of it, and shifted by one.
TEST_CASE("Training sequences of a text are pieces of its training part from everywhere in it", "[task][text]") {
  const test::TempDir dir;
  const std::string text = random_text(5000, 1);
  const auto task = task_test::task("text", 64, {{"corpus", written(dir, text)}});
  std::vector<std::int64_t> starts(4500 - 64, 0);
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const task_test::Sequence s = task_test::make(*task, 3, Split::train, i);
    const std::size_t start = text.find(bytes_of(s.tokens));
    REQUIRE(start < starts.size());
    REQUIRE(bytes_of(s.targets) == text.substr(start + 1, 64));
    REQUIRE(task_test::broken_promise(*task, s).empty());
    ++starts[start];
  }
  // Chi-square over 40 equal parts, 5 standard deviations: 39 + 5 sqrt(78).
  double chi = 0;
  for (std::size_t part = 0; part < 40; ++part) {
    const std::size_t first = part * starts.size() / 40, end = (part + 1) * starts.size() / 40;
    double seen = 0;
    for (std::size_t i = first; i < end; ++i) seen += static_cast<double>(starts[i]);
    const double expected = 10000.0 * static_cast<double>(end - first) / static_cast<double>(starts.size());
    chi += (seen - expected) * (seen - expected) / expected;
  }
  CHECK(chi < 39 + 5 * std::sqrt(78.0));
  CHECK(task_test::make(*task, 3, Split::train, 7) == task_test::make(*task, 3, Split::train, 7));
  CHECK(task_test::make(*task, 3, Split::train, 7).tokens != task_test::make(*task, 4, Split::train, 7).tokens);
}

// Proves that evaluation windows lie in the validation part, do not overlap, and go round before any comes twice.
TEST_CASE("Evaluation sequences of a text are all the windows of its validation part", "[task][text]") {
  const test::TempDir dir;
  const std::string text = random_text(20000, 2);
  const auto task = task_test::task("text", 64, {{"corpus", written(dir, text)}, {"validation", 0.25}});
  const std::int64_t windows = 5000 / 65;
  CHECK(task->evaluation_sequences() == windows);
  std::set<std::size_t> seen;
  for (std::int64_t i = 0; i < windows; ++i) {
    const std::size_t start =
        text.find(bytes_of(task_test::make(*task, 0, Split::eval, static_cast<std::uint64_t>(i)).tokens));
    REQUIRE(start >= 15000);
    CHECK((start - 15000) % 65 == 0);
    CHECK(seen.insert(start).second);
  }
  CHECK(*seen.rbegin() + 65 <= text.size());
}

// Proves the needle: the text before and after it is the corpus, the question at the end asks for it, its digits are
// the answer, all depths occur, and as many sequences carry one as asked.
TEST_CASE("Needles stand in the text where the depth says, and are asked for at the end", "[task][text]") {
  const test::TempDir dir;
  const std::string text = random_text(20000, 3);
  const auto task = task_test::task("text", 160, {{"corpus", written(dir, text)}, {"needles", 0.25}});
  std::set<std::size_t> depths;
  int carrying = 0;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const task_test::Sequence s = task_test::make(*task, 1, Split::train, i);
    const std::string stream = bytes_of(s.tokens) + static_cast<char>(s.targets.back());
    const std::size_t at = stream.find("\nThe code of ");
    if (at == std::string::npos) continue;
    ++carrying;
    depths.insert(at);
    REQUIRE(stream.substr(at, 25) == stream.substr(stream.size() - 25));
    REQUIRE(stream.substr(at + 25, 2) == ".\n");
    const std::string kept = stream.substr(0, at) + stream.substr(at + 27, stream.size() - 25 - at - 27);
    REQUIRE(text.find(kept) != std::string::npos);
    for (std::size_t k = 0; k < 4; ++k) REQUIRE(std::isdigit(static_cast<unsigned char>(stream[at + 21 + k])));
  }
  CHECK(depths.size() == 40);
  CHECK(std::abs(carrying - 2500) < 5 * std::sqrt(10000 * 0.25 * 0.75));
  const std::vector<Companion> companions = task->companions();
  REQUIRE(companions.size() == 1);
  for (std::uint64_t i = 0; i < 80; ++i) {
    const task_test::Sequence s = task_test::make(*companions[0].task, 0, Split::eval, i);
    CHECK(task_test::broken_promise(*companions[0].task, s).empty());
    CHECK(std::count_if(s.distance.begin(), s.distance.end(), [](std::int32_t d) { return d > 0; }) == 4);
    CHECK(bytes_of(s.tokens).find("\nThe code of ") == static_cast<std::size_t>((i % 40) * (161 - 52) / 39));
  }
}

// Proves "longppl" against its definition: sort the falls, average the long losses of the largest tenth.
TEST_CASE("LongPPL is the perplexity where the long context helps most", "[task][text]") {
  const test::TempDir dir;
  const auto task = task_test::task("text", 512, {{"corpus", written(dir, random_text(60000, 4))}});
  const EvalSuite suite(*task, {.sequences = 8});
  REQUIRE(suite.sets().size() == 2);
  const EvalSet &whole = suite.sets()[0], &pieces = suite.sets()[1];
  CHECK(pieces.context == 256);
  REQUIRE(pieces.scored.size() == 2 * 256);  // 2 of 8 sequences, positions 256 .. 511
  std::mt19937 random(5);
  std::vector<SetResult> results;
  for (const EvalSet* set : {&whole, &pieces}) {
    results.push_back({std::vector<std::int32_t>(set->scored.size(), 0), {}});
    for (std::size_t i = 0; i < set->scored.size(); ++i) {
      results.back().loss.push_back(static_cast<float>(random() % 1000) / 100);
    }
  }
  std::vector<std::pair<float, float>> falls;  // short - long, long
  for (std::size_t i = 0; i < pieces.scored.size(); ++i) {
    // The piece's scored position, by its bytes, in the whole: sequence i / 256, position 256 + i mod 256.
    const std::size_t at = i / 256 * 512 + 256 + i % 256;
    CHECK(whole.targets[at] == pieces.targets[static_cast<std::size_t>(pieces.scored[i])]);
    CHECK(whole.tokens[at] == pieces.tokens[static_cast<std::size_t>(pieces.scored[i])]);
    falls.emplace_back(results[1].loss[i] - results[0].loss[at], results[0].loss[at]);
  }
  std::stable_sort(falls.begin(), falls.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  double sum = 0;
  for (std::size_t i = 0; i < 51; ++i) sum += static_cast<double>(falls[i].second);
  const std::vector<Point> points = suite.points(results);
  const auto longppl = std::find_if(points.begin(), points.end(), [](const Point& p) { return p.metric == "longppl"; });
  REQUIRE(longppl != points.end());
  CHECK(longppl->value == Approx(std::exp(sum / 51)).epsilon(1e-6));
  CHECK(longppl->count == 51);
  const auto bits =
      std::find_if(points.begin(), points.end(), [](const Point& p) { return p.metric == "bits_per_byte"; });
  CHECK(bits->value == Approx(points[0].value / std::log(2.0)).epsilon(1e-12));
}

// Proves that each bad corpus or parameter is refused before anything is trained, by name.
TEST_CASE("A text that cannot be trained on is refused with what to do", "[task][text]") {
  const test::TempDir dir;
  const std::string path = written(dir, random_text(3000, 6));
  const auto make = [&](const Given& given, std::int64_t context) {
    return refusal([&] { (void)make_task(completed(task_spec("text", given)), context); });
  };
  const auto contains = [](const std::string& text, const char* part) {
    CAPTURE(text, part);
    return text.find(part) != std::string::npos;
  };
  CHECK(make({{"corpus", path}}, 64).empty());
  CHECK(contains(make({}, 64), "task.corpus is missing"));
  CHECK(contains(make({{"corpus", path + ".no"}}, 64), ".no"));
  CHECK(contains(make({{"corpus", path}, {"format", "utf8"}}, 64), "utf8"));
  CHECK(contains(make({{"corpus", path}}, 400), "validation"));  // 300 bytes of validation
  CHECK(contains(make({{"corpus", path}}, 2800), "training"));
  CHECK(contains(make({{"corpus", path}, {"needles", 0.5}}, 64), "context must be at least 104"));
  CHECK(contains(make({{"corpus", written(dir, "")}}, 64), "empty"));
  const std::string again = written(dir, random_text(3000, 7), "other.txt");
  const TaskSpec spec = completed(task_spec("text", {{"corpus", again}}));
  written(dir, random_text(3001, 8), "other.txt");
  CHECK(contains(refusal([&] { (void)make_task(spec, 64); }), "is not the text the study was made with"));
  Shape shape{.d_model = 32, .heads = 1, .kv_heads = 1, .head_dim = 32, .ffn = 32, .vocab = 300, .context = 64};
  Recipe recipe;
  recipe.capability.metric = "accuracy";
  recipe.eval.sequences = 3;
  const std::string tokens = (dir.path() / "tokens.bin").string();
  std::vector<std::uint16_t> values(3000, 7);
  values[1234] = 300;
  std::ofstream(tokens, std::ios::binary).write(reinterpret_cast<const char*>(values.data()), 6000);
  recipe.task = completed(task_spec("text", {{"corpus", tokens}}));
  const std::string beyond = refusal([&] { validate(recipe, shape); });
  CHECK(contains(beyond, "tokens.bin"));
  CHECK(contains(beyond, "1234"));
  shape.vocab = 301;
  CHECK_NOTHROW(validate(recipe, shape));
  recipe.eval.sequences = 5;  // 300 tokens of validation hold 4 sequences of 65
  CHECK(contains(refusal([&] { validate(recipe, shape); }), "recipe.eval.sequences is 5"));
  // At twice the context half as many sequences are evaluated: 2 of 2; at a quarter 16 of 17.
  recipe.eval.sequences = 4;
  recipe.eval.lengths = {128, 16};
  CHECK_NOTHROW(validate(recipe, shape));
  recipe.eval.lengths = {512};
  CHECK(contains(refusal([&] { validate(recipe, shape); }), "recipe.eval.lengths: at 512 tokens"));
}

}  // namespace
}  // namespace hylas::model
