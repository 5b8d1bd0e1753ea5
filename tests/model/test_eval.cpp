// RecallMetrics: buckets, thresholds and counts against plain loops, merging, names, and what is left out.
#include <cmath>
#include <map>
#include <random>

#include "model/data/recall.hpp"
#include "model/eval/recall_accuracy.hpp"
#include "tests/catch.hpp"

namespace hylas::model {
namespace {

std::vector<std::string> names(const std::vector<Point>& points) {
  std::vector<std::string> names;
  for (const Point& point : points) names.push_back(point.metric);
  return names;
}

// Sequences of the task with made-up predictions: right where a coin says so, more often when near.
struct Predictions {
  std::int64_t context;
  std::vector<std::int32_t> targets, predicted, distance;
  std::vector<float> loss;

  Predictions(std::int64_t T, int sequences, unsigned seed) : context(T) {
    const RecallStream stream({16, 16, 0.6}, T);
    std::mt19937_64 random(seed);
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(T));
    const auto total = static_cast<std::size_t>(T * sequences);
    targets.resize(total), predicted.resize(total), distance.resize(total), loss.resize(total);
    for (int i = 0; i < sequences; ++i) {
      const auto at = static_cast<std::ptrdiff_t>(T * i);
      stream.sequence(0, Split::eval, random(), tokens.data(), targets.data() + at, distance.data() + at);
    }
    for (std::size_t t = 0; t < total; ++t) {
      const bool right = random() % 100 < (distance[t] <= 16 ? 90u : 40u);
      predicted[t] = right ? targets[t] : 31 - targets[t];  // never the target: 31 is odd
      // Unscored positions must not be read: a loss there would show.
      loss[t] = distance[t] > 0 ? std::uniform_real_distribution<float>(0, 3)(random) : std::nanf("");
    }
  }

  [[nodiscard]] std::vector<Point> points() const {
    RecallMetrics metrics(context);
    metrics.add(targets.data(), predicted.data(), distance.data(), loss.data(),
                static_cast<std::int64_t>(targets.size()));
    return metrics.points();
  }

  // Fraction right with low < distance <= high, and the count, by a plain loop.
  [[nodiscard]] std::pair<double, std::int64_t> accuracy(double low, double high) const {
    std::int64_t right = 0, count = 0;
    for (std::size_t t = 0; t < targets.size(); ++t) {
      if (distance[t] <= 0 || distance[t] <= low || distance[t] > high) continue;
      ++count;
      right += predicted[t] == targets[t];
    }
    return {static_cast<double>(right) / static_cast<double>(count), count};
  }
};

TEST_CASE("Accuracy by distance and loss are what a plain loop counts", "[eval]") {
  for (const std::int64_t T : {64, 128, 512}) {
    const Predictions p(T, 50, static_cast<unsigned>(T));
    std::map<std::string, Point> point;
    for (const Point& each : p.points()) point[each.metric] = each;
    const std::map<std::string, std::pair<double, double>> ranges = {
        {"accuracy/near", {0, 16}},       {"accuracy/far", {static_cast<double>(T) / 2, 1e9}},
        {"accuracy/(0,16]", {0, 16}},     {"accuracy/(16,64]", {16, 64}},
        {"accuracy/(64,256]", {64, 256}}, {"accuracy/(256,512]", {256, 512}}};
    for (const auto& [name, range] : ranges) {
      const auto [value, count] = p.accuracy(range.first, range.second);
      CAPTURE(T, name, count);
      CHECK(point.contains(name) == (count > 0));
      if (count == 0) continue;
      CHECK(point[name].value == value);  // the same division of the same integers
      CHECK(point[name].count == count);
    }
    double sum = 0;
    for (std::size_t t = 0; t < p.loss.size(); ++t) sum += p.distance[t] > 0 ? static_cast<double>(p.loss[t]) : 0;
    const std::int64_t scored = p.accuracy(0, 1e9).second;
    CHECK(point["loss"].value == sum / static_cast<double>(scored));
    CHECK(point["loss"].count == scored);
  }
}

TEST_CASE("The buckets are those a distance of the context can fall into", "[eval]") {
  using Names = std::vector<std::string>;
  // One position of each distance that exists, so no bucket is left out for want of positions.
  const auto all = [](std::int64_t T) {
    std::vector<std::int32_t> targets, distance;
    for (std::int32_t d = 2; d <= T - 2; d += 2) distance.push_back(d), targets.push_back(16);
    const std::vector<float> loss(targets.size(), 1);
    RecallMetrics metrics(T);
    metrics.add(targets.data(), targets.data(), distance.data(), loss.data(),
                static_cast<std::int64_t>(targets.size()));
    return names(metrics.points());
  };
  CHECK(all(16) == Names{"loss", "accuracy/near", "accuracy/far", "accuracy/(0,16]"});
  CHECK(all(18) == Names{"loss", "accuracy/near", "accuracy/far", "accuracy/(0,16]"});
  CHECK(all(20) == Names{"loss", "accuracy/near", "accuracy/far", "accuracy/(0,16]", "accuracy/(16,64]"});
  CHECK(all(64) == Names{"loss", "accuracy/near", "accuracy/far", "accuracy/(0,16]", "accuracy/(16,64]"});
  CHECK(all(2048) == Names{"loss", "accuracy/near", "accuracy/far", "accuracy/(0,16]", "accuracy/(16,64]",
                           "accuracy/(64,256]", "accuracy/(256,512]", "accuracy/(512,1024]", "accuracy/(1024,2048]"});
}

// The edges: 16 is near and in (0,16], 18 is neither; exactly half of the context is not far.
TEST_CASE("Edges of near, far and buckets belong where the names say", "[eval]") {
  const std::vector<std::int32_t> distance = {16, 18, 32, 34, 0}, targets = {20, 20, 20, 20, 3};
  const std::vector<std::int32_t> predicted = {20, 0, 20, 0, 3};
  const std::vector<float> loss = {1, 2, 3, 4, 100};
  RecallMetrics metrics(64);
  metrics.add(targets.data(), predicted.data(), distance.data(), loss.data(), 5);
  const auto points = metrics.points();
  REQUIRE(names(points) ==
          std::vector<std::string>{"loss", "accuracy/near", "accuracy/far", "accuracy/(0,16]", "accuracy/(16,64]"});
  const double values[] = {2.5, 1.0, 0.0, 1.0, 1.0 / 3};
  const std::int64_t counts[] = {4, 1, 1, 1, 3};
  for (std::size_t i = 0; i < points.size(); ++i) {
    CHECK(points[i].value == values[i]);
    CHECK(points[i].count == counts[i]);
  }
}

// Proves the order that recall_accuracy.hpp documents: metrics of sequences merged in order give the bits of adding
// each in turn.
TEST_CASE("Merging in order gives the bits of adding in order", "[eval]") {
  const std::int64_t T = 128;
  const Predictions p(T, 40, 5);
  RecallMetrics together(T), merged(T);
  for (std::int64_t start = 0; start < static_cast<std::int64_t>(p.targets.size()); start += T) {
    const auto add = [&](RecallMetrics& to) {
      to.add(p.targets.data() + start, p.predicted.data() + start, p.distance.data() + start, p.loss.data() + start, T);
    };
    add(together);
    RecallMetrics one(T);
    add(one);
    merged.merge(one);
  }
  const auto a = together.points(), b = merged.points();
  REQUIRE(names(a) == names(b));
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].value == b[i].value);
    CHECK(a[i].count == b[i].count);
  }
}

TEST_CASE("Without scored positions there are no points; a loss that is not finite stays so", "[eval]") {
  RecallMetrics metrics(64);
  CHECK(metrics.points().empty());
  const std::int32_t targets[] = {17, 3}, predicted[] = {17, 3}, distance[] = {2, 0};
  const float loss[] = {std::numeric_limits<float>::quiet_NaN(), 1};
  metrics.add(targets, predicted, distance, loss, 2);
  CHECK(std::isnan(metrics.points().front().value));
  CHECK(metrics.points()[1].value == 1.0);
}

}  // namespace
}  // namespace hylas::model
