// Metrics of scored positions against plain loops: accuracy by distance, depth and target, losses by position, names,
// and what is left out.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "model/data/tasks/recall.hpp"
#include "model/eval/eval_suite.hpp"
#include "tests/catch.hpp"

namespace hylas::model {
namespace {

using Names = std::vector<std::string>;

Names names(const std::vector<Point>& points) {
  Names result;
  for (const Point& point : points) result.push_back(point.metric);
  return result;
}

std::map<std::string, Point> by_name(const std::vector<Point>& points) {
  std::map<std::string, Point> result;
  for (const Point& point : points) result[point.metric] = point;
  return result;
}

// A set with made-up predictions: right where a coin says so, more often when near.
struct Predictions {
  EvalSet set;
  SetResult result;

  Predictions(std::int64_t T, std::int64_t sequences, unsigned seed)
      : set(RecallStream({16, 16, 0.6}, T), sequences, "") {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < set.scored.size(); ++i) {
      const bool right = random() % 100 < (set.distance[i] <= 16 ? 90u : 40u);
      const std::int32_t target = set.targets[static_cast<std::size_t>(set.scored[i])];
      result.predicted.push_back(right ? target : 31 - target);  // never the target: 31 is odd
      result.loss.push_back(std::uniform_real_distribution<float>(0, 3)(random));
    }
  }
  [[nodiscard]] bool right(std::size_t i) const {
    return result.predicted[i] == set.targets[static_cast<std::size_t>(set.scored[i])];
  }
  [[nodiscard]] std::vector<Point> points() const { return metric_points(set, result.predicted, result.loss); }

  // Fraction right among the scored positions that `chosen` takes, and their number, by a plain loop.
  template <class Chosen>
  [[nodiscard]] std::pair<double, std::int64_t> accuracy(const Chosen& chosen) const {
    std::int64_t correct = 0, count = 0;
    for (std::size_t i = 0; i < set.scored.size(); ++i) {
      if (!chosen(i)) continue;
      ++count;
      correct += right(i);
    }
    return {static_cast<double>(correct) / static_cast<double>(count), count};
  }
};

// A set of one sequence whose scored positions are given.
EvalSet hand_made(std::int64_t T, const MetricPlan& plan, const std::vector<std::int32_t>& scored,
                  const std::vector<std::int32_t>& distance, const std::vector<std::int32_t>& targets) {
  EvalSet set;
  set.context = T, set.sequences = 1, set.plan = plan, set.scored = scored, set.distance = distance;
  set.targets.assign(static_cast<std::size_t>(T), -1);
  for (std::size_t i = 0; i < scored.size(); ++i) set.targets[static_cast<std::size_t>(scored[i])] = targets[i];
  return set;
}

// Proves that a set holds the task's evaluation sequences, and scores what the task scores.
TEST_CASE("A set holds the evaluation sequences and their scored positions", "[eval]") {
  const RecallStream stream({16, 16, 0.6}, 64);
  const EvalSet set(stream, 20, "");
  std::vector<std::int32_t> tokens(64), targets(64), distance(64);
  std::size_t at = 0;
  for (std::size_t s = 0; s < 20; ++s) {
    stream.sequence(7, Split::eval, s, tokens.data(), targets.data(), distance.data());
    for (std::size_t t = 0; t < 64; ++t) {
      CHECK(set.tokens[s * 64 + t] == tokens[t]);
      CHECK(set.targets[s * 64 + t] == (distance[t] != 0 ? targets[t] : -1));
      if (distance[t] == 0) continue;
      REQUIRE(at < set.scored.size());
      CHECK(set.scored[at] == static_cast<std::int32_t>(s * 64 + t));
      CHECK(set.distance[at++] == distance[t]);
    }
  }
  CHECK(at == set.scored.size());
}

TEST_CASE("Accuracy by distance and loss are what a plain loop counts", "[eval]") {
  for (const std::int64_t T : {64, 128, 512}) {
    const Predictions p(T, 50, static_cast<unsigned>(T));
    std::map<std::string, Point> point = by_name(p.points());
    const std::map<std::string, std::pair<double, double>> ranges = {
        {"accuracy/near", {0, 16}},       {"accuracy/far", {static_cast<double>(T) / 2, 1e9}},
        {"accuracy/(0,16]", {0, 16}},     {"accuracy/(16,64]", {16, 64}},
        {"accuracy/(64,256]", {64, 256}}, {"accuracy/(256,512]", {256, 512}}};
    for (const auto& [name, range] : ranges) {
      const auto [low, high] = range;
      const auto [value, count] =
          p.accuracy([&, l = low, h = high](std::size_t i) { return p.set.distance[i] > l && p.set.distance[i] <= h; });
      CAPTURE(T, name, count);
      CHECK(point.contains(name) == (count > 0));
      if (count == 0) continue;
      CHECK(point[name].value == value);  // the same division of the same integers
      CHECK(point[name].count == count);
    }
    for (const auto& [name, range] :
         {std::pair{"near", ranges.at("accuracy/near")}, {"far", ranges.at("accuracy/far")}}) {
      double total = 0;
      std::int64_t count = 0;
      for (std::size_t i = 0; i < p.set.scored.size(); ++i) {
        if (p.set.distance[i] <= range.first || p.set.distance[i] > range.second) continue;
        total += static_cast<double>(p.result.loss[i]), ++count;
      }
      CAPTURE(T, name, count);
      REQUIRE(count > 0);
      const Point& loss = point.at(fmt::format("loss/{}", name));
      CHECK(loss.value == total / static_cast<double>(count));
      CHECK(loss.count == point.at(fmt::format("accuracy/{}", name)).count);
    }
    double sum = 0;
    for (const float loss : p.result.loss) sum += static_cast<double>(loss);
    CHECK(point["loss"].value == sum / static_cast<double>(p.set.scored.size()));
    CHECK(point["loss"].count == static_cast<std::int64_t>(p.set.scored.size()));
  }
}

// Proves the other groupings on the same predictions: all, by target token, by depth class, by position.
TEST_CASE("Overall, macro, depth and position metrics are what a plain loop counts", "[eval]") {
  Predictions p(128, 30, 11);
  p.set.plan = {.accuracy = true, .macro = true, .distance = false, .depths = 5, .by_position = true};
  p.set.suffix = "@128";
  std::map<std::string, Point> point = by_name(p.points());
  CHECK(point.at("accuracy@128").value == p.accuracy([](std::size_t) { return true; }).first);
  double macro = 0;
  int occurring = 0;
  for (std::int32_t target = 0; target < 32; ++target) {
    const auto [value, count] =
        p.accuracy([&](std::size_t i) { return p.set.targets[static_cast<std::size_t>(p.set.scored[i])] == target; });
    if (count > 0) macro += value, ++occurring;
  }
  CHECK(occurring > 1);
  CHECK(point.at("accuracy/macro@128").value == Approx(macro / occurring).epsilon(1e-12));
  const Names depths = {"accuracy/depth:0.0@128", "accuracy/depth:25.0@128", "accuracy/depth:50.0@128",
                        "accuracy/depth:75.0@128", "accuracy/depth:100.0@128"};
  for (int d = 0; d < 5; ++d) {
    const auto [value, count] = p.accuracy([&](std::size_t i) { return p.set.scored[i] / 128 % 5 == d; });
    CHECK(point.at(depths[static_cast<std::size_t>(d)]).value == value);
    CHECK(point.at(depths[static_cast<std::size_t>(d)]).count == count);
  }
  const std::map<std::string, std::pair<int, int>> positions = {{"loss/short@128", {0, 32}},
                                                                {"loss/long@128", {64, 128}},
                                                                {"loss/(0,16]@128", {0, 16}},
                                                                {"loss/(16,64]@128", {16, 64}},
                                                                {"loss/(64,256]@128", {64, 128}}};
  for (const auto& [name, range] : positions) {
    double sum = 0;
    std::int64_t count = 0;
    for (std::size_t i = 0; i < p.set.scored.size(); ++i) {
      const int position = p.set.scored[i] % 128;
      if (position >= range.first && position < range.second) sum += static_cast<double>(p.result.loss[i]), ++count;
    }
    CAPTURE(name);
    CHECK(point.at(name).value == Approx(sum / static_cast<double>(count)).epsilon(1e-12));
    CHECK(point.at(name).count == count);
  }
}

// The edges: 16 is near and in (0,16], 18 is neither; exactly half of the context is not far; a position without a
// known distance counts in the whole only.
TEST_CASE("Edges of near, far and buckets belong where the names say", "[eval]") {
  const EvalSet set =
      hand_made(64, {.distance = true}, {20, 30, 40, 50, 60}, {16, 18, 32, 34, unknown_distance}, {20, 20, 20, 20, 3});
  const std::vector<std::int32_t> predicted = {20, 0, 20, 0, 3};
  const std::vector<float> loss = {1, 2, 3, 4, 5};
  const auto points = metric_points(set, predicted, loss);
  REQUIRE(names(points) == Names{"loss", "accuracy", "accuracy/near", "accuracy/far", "loss/near", "loss/far",
                                 "accuracy/(0,16]", "accuracy/(16,64]"});
  const double values[] = {3.0, 0.6, 1.0, 0.0, 1.0, 4.0, 1.0, 1.0 / 3};
  const std::int64_t counts[] = {5, 5, 1, 1, 1, 1, 1, 3};
  for (std::size_t i = 0; i < points.size(); ++i) {
    CHECK(points[i].value == values[i]);
    CHECK(points[i].count == counts[i]);
  }
}

TEST_CASE("Metrics without a scored position are left out, and a loss that is no number stays none", "[eval]") {
  const EvalSet set = hand_made(64, {.accuracy = false, .distance = true}, {10}, {4}, {1});
  const std::vector<float> loss = {std::nanf("")};
  const std::vector<std::int32_t> predicted = {1};
  const auto points = metric_points(set, predicted, loss);
  CHECK(names(points) ==
        Names{"loss", "accuracy/near", "loss/near", "accuracy/(0,16]"});  // nothing far, so no mean of it
  CHECK(std::isnan(points[0].value));
  CHECK(std::isnan(points[2].value));
  const EvalSet empty = hand_made(64, {.distance = true}, {}, {}, {});
  CHECK(metric_points(empty, {}, {}).empty());
}

// Proves that losses by distance come with distances alone, that each has a meaning in the protocol, and that none is
// taken for a text's losses by position.
TEST_CASE("Losses near and far are metrics of tasks with distances, and have meanings", "[eval]") {
  const auto means = [](const MetricPlan& plan) {
    Names result;
    for (const auto& [name, meaning] : metric_meanings(plan)) {
      CHECK_FALSE(meaning.empty());
      CHECK(std::find(result.begin(), result.end(), name) == result.end());
      result.push_back(name);
    }
    return result;
  };
  const auto holds = [](const Names& list, const char* name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  for (const char* name : {"loss/near", "loss/far"}) {
    CHECK(holds(means({.distance = true}), name));
    CHECK(holds(names(Predictions(64, 20, 5).points()), name));
    CHECK_FALSE(holds(means({.by_position = true}), name));
    CHECK_FALSE(holds(means({.macro = true, .depths = 3}), name));
    // A loss is no capability.
    CHECK_FALSE(holds(capability_metrics({.distance = true}, 64), name));
  }
  Predictions text(64, 20, 5);
  text.set.plan = {.by_position = true};
  for (const std::string& name : names(text.points())) CHECK((name != "loss/near" && name != "loss/far"));
}

// Proves that what a capability may be is what an evaluation can yield.
TEST_CASE("The accuracies a capability may name are those of the plan at its context", "[eval]") {
  CHECK(capability_metrics({.accuracy = false, .distance = true}, 64) ==
        Names{"accuracy/near", "accuracy/far", "accuracy/(0,16]", "accuracy/(16,64]"});
  CHECK(capability_metrics({.macro = true, .depths = 2}, 64) ==
        Names{"accuracy", "accuracy/macro", "accuracy/depth:0.0", "accuracy/depth:100.0"});
  CHECK(capability_metrics({.distance = true}, 16).back() == "accuracy/(0,16]");
  CHECK(capability_metrics({.distance = true}, 2048).back() == "accuracy/(1024,2048]");
}

// Proves that a suite makes a set of each length, of about as many tokens, and names its metrics by it.
TEST_CASE("A suite evaluates at every length and names the metrics by it", "[eval]") {
  const RecallStream stream({16, 16, 0.6}, 64);
  const EvalSuite suite(stream, {.sequences = 32, .lengths = {16, 128, 4096}});
  REQUIRE(suite.sets().size() == 4);
  const std::int64_t contexts[] = {64, 16, 128, 4096}, sequences[] = {32, 128, 16, 1};
  std::vector<SetResult> results;
  for (std::size_t i = 0; i < 4; ++i) {
    const EvalSet& set = suite.sets()[i];
    CHECK(set.context == contexts[i]);
    CHECK(set.sequences == sequences[i]);
    results.push_back({std::vector<std::int32_t>(set.scored.size(), 0), std::vector<float>(set.scored.size(), 1.0F)});
  }
  const std::map<std::string, Point> point = by_name(suite.points(results));
  CHECK(point.contains("accuracy/far"));
  CHECK(point.contains("accuracy/far@128"));
  CHECK(point.contains("accuracy/near@4096"));
  CHECK(point.at("loss@16").count == static_cast<std::int64_t>(suite.sets()[1].scored.size()));
}

}  // namespace
}  // namespace hylas::model
