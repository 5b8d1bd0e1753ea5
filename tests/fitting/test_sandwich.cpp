// The sandwich covariance: against its closed form in linear regression, by term and by cluster; where the likelihood
// is wrong about the spread it has the true standard error and the inverse Hessian does not; as the fits report it.
#include "fitting/sandwich.hpp"

#include <Eigen/Dense>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fitting/distributions.hpp"
#include "fitting/law.hpp"
#include "tests/catch.hpp"
#include "tests/fitting/support.hpp"

using namespace hylas::fitting;

namespace {

// Least squares as a law: term i = (y_i - a - b x_i)^2 / 2.
class Line {
 public:
  static constexpr int kScalars = 1;
  Line(std::vector<double> x, std::vector<double> y)
      : y_(std::move(y)), coordinates_{{"a", 0, -1e3, 1e3, {}}, {"b", 0, -1e3, 1e3, std::move(x)}} {}
  [[nodiscard]] const std::vector<Coordinate>& coordinates() const { return coordinates_; }
  [[nodiscard]] int terms() const { return static_cast<int>(y_.size()); }
  [[nodiscard]] double scale() const { return 40; }  // a sandwich does not depend on it
  [[nodiscard]] std::vector<Vector> starts() const { return {Vector::Zero(2)}; }
  template <class T>
  [[nodiscard]] T term(int i, const T* x) const {
    const T residual = y_[i] - x[0];
    return 0.5 * (residual * residual);
  }

 private:
  std::vector<double> y_;
  std::vector<Coordinate> coordinates_;
};

struct Regression {
  Matrix x = Matrix::Ones(40, 2);
  Vector y = Vector::Zero(40);
  std::vector<std::string> cluster;

  // Noise that grows with |x| and has a part that each of 10 clusters shares.
  explicit Regression(std::uint64_t seed) {
    Stream stream(seed, 0);
    double shared = 0;
    for (int i = 0; i < 40; ++i) {
      if (i % 4 == 0) shared = stream.normal();
      x(i, 1) = stream.normal();
      y[i] = 1 + 2 * x(i, 1) + shared + x(i, 1) * stream.normal();
      cluster.push_back("cluster " + std::to_string(i / 4));
    }
  }
  [[nodiscard]] Line law() const {
    const Vector column = x.col(1);
    return {{column.begin(), column.end()}, {y.begin(), y.end()}};
  }
};

double largest_error(const Matrix& a, const Matrix& b) {
  return (a - b).cwiseAbs().maxCoeff() / b.cwiseAbs().maxCoeff();
}

}  // namespace

TEST_CASE("least squares: the sandwich is White's HC1, and CR1 by cluster, in closed form") {
  const Regression data(5);
  const Line law = data.law();
  const LawObjective<Line> objective(law);
  const Solution solution = minimise(objective, box_of(law.coordinates()), Vector::Zero(2));
  const Matrix bread = (data.x.transpose() * data.x).inverse();
  const Vector residual = data.y - data.x * (bread * data.x.transpose() * data.y);
  const Matrix white =
      bread * data.x.transpose() * residual.cwiseAbs2().asDiagonal() * data.x * bread * (40.0 / (40 - 2));
  CHECK(largest_error(sandwich(objective, solution, each_its_own(40)), white) < 1e-9);
  Matrix meat = Matrix::Zero(2, 2);
  for (int c = 0; c < 10; ++c) {
    const Vector score = data.x.middleRows(4 * c, 4).transpose() * residual.segment(4 * c, 4);
    meat += score * score.transpose();
  }
  const Matrix clustered = bread * meat * bread * (10.0 / 9 * 39 / 38);
  CHECK(largest_error(sandwich(objective, solution, grouped(data.cluster)), clustered) < 1e-9);
  CHECK(clustered(0, 0) > 1.5 * white(0, 0));  // else this data set tells the two apart too little
}

TEST_CASE("the sandwich holds fixed coordinates, and says nothing where units are too few") {
  const Regression data(6);
  const Line law = data.law();
  const LawObjective<Line> objective(law);
  const Box box = box_of(law.coordinates());
  const Solution fixed = minimise(objective, box, Vector::Zero(2), {true, false});
  const Matrix one = sandwich(objective, fixed, each_its_own(40));
  CHECK(one.row(0).isZero());
  CHECK(one(1, 1) > 0);
  Units two{std::vector<int>(40, 0), 2};
  for (int i = 20; i < 40; ++i) two.unit_of[i] = 1;
  CHECK(sandwich(objective, minimise(objective, box, Vector::Zero(2)), two).array().isNaN().all());
  const Matrix held = sandwich(objective, fixed, two);  // two units for one free coordinate will do
  CHECK(held(1, 1) > 0);
  Units single{std::vector<int>(40, 0), 1};
  CHECK(std::isnan(sandwich(objective, fixed, single)(1, 1)));
  CHECK(sandwich(objective, fixed, single)(0, 0) == 0);
}

// Seeds of window 2048 spread six times as much as those of window 128, but F3 fits one sigma. Over 300 studies the
// effect of the window varies more than its curvature says; the sandwich knows. 300 draws give an sd to 4%.
TEST_CASE("where the spread differs between designs the sandwich has the true standard error of F3") {
  constexpr int kStudies = 300;
  double sum = 0, squares = 0, robust = 0, model = 0;
  for (int r = 0; r < kStudies; ++r) {
    Stream stream(71, static_cast<std::uint64_t>(r));
    std::vector<EmergenceRun> runs;
    for (int i = 0; i < 60; ++i) {
      const double window = i % 4 == 0 ? 2048 : 128, sigma = i % 4 == 0 ? 0.6 : 0.1;
      const double cell = std::floor((22 + 0.2 * std::log(window) + sigma * stream.normal()) / 0.05);
      runs.push_back({std::to_string(window),
                      i,
                      {1e7, window, 0.5, 0, 0, {}},
                      std::exp(0.05 * cell),
                      std::exp(0.05 * (cell + 1)),
                      std::exp(0.05 * (cell + 1))});
    }
    EmergenceOptions options;
    options.terms = {"ln_window"};
    options.cure = false;
    options.intervals = false;
    const Fit fit = fit_emergence_time(runs, options).fit;
    REQUIRE(fit.converged);
    const double estimate = fit.parameter("ln_window").estimate;
    sum += estimate;
    squares += estimate * estimate;
    robust += fit.parameter("ln_window").standard_error / kStudies;
    model += std::sqrt(fit.covariance[4]) / kStudies;  // 3 coordinates: row 1, column 1
  }
  const double truth = std::sqrt((squares - sum * sum / kStudies) / (kStudies - 1));
  INFO("sd of estimates " << truth << ", mean sandwich " << robust << ", mean inverse Hessian " << model);
  CHECK(robust == Approx(truth).epsilon(0.12));  // sampling 4%, and its own bias of a few percent at 15 wide runs
  CHECK(model < 0.75 * truth);
}

TEST_CASE("fits report sandwich standard errors, on the parameter's own scale, and intervals on request") {
  const auto runs = testing::censoring_study(9, 0, 1e10);
  EmergenceOptions options;
  options.terms = {"ln_N", "ln_window", "nope"};
  const Fit profile = fit_emergence_time(runs, options).fit;
  options.sandwich = true;
  const Fit quick = fit_emergence_time(runs, options).fit;
  CHECK(quick.interval_method.find("sandwich, t with") == 0);
  CHECK(profile.interval_method.find("profile likelihood") == 0);
  const double t = student_t_quantile(0.95, quick.degrees);
  for (const char* name : {"intercept", "ln_N", "ln_window", "nope", "sigma"}) {
    const Parameter &p = profile.parameter(name), &q = quick.parameter(name);
    INFO(name);
    CHECK(p.standard_error == q.standard_error);
    const double half =
        name == std::string("sigma") ? 0.5 * std::log(q.ci_high / q.ci_low) * q.estimate : 0.5 * (q.ci_high - q.ci_low);
    CHECK(half == Approx(t * q.standard_error).epsilon(1e-9));
    // The model is right here, so both say about the same: 72 gradients give a variance to about 20%.
    CHECK(q.ci_high - q.ci_low == Approx(p.ci_high - p.ci_low).epsilon(0.35));
  }
  // pi sits on its bound: no standard error, and null in JSON.
  if (quick.parameter("pi").estimate == 1) CHECK(std::isnan(quick.parameter("pi").standard_error));
  const auto json = nlohmann::json::parse(to_json(quick));
  CHECK(json["parameters"][1]["standard_error"] == quick.parameters[1].standard_error);
  CHECK(json["interval_method"] == quick.interval_method);
  options.intervals = false;
  const Fit none = fit_emergence_time(runs, options).fit;
  CHECK(none.interval_method == "none");
  CHECK(std::isnan(none.parameters[1].ci_low));
  CHECK(none.parameters[1].standard_error == quick.parameters[1].standard_error);
}
