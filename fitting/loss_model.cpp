// Shared parts of loss models; see loss_model.hpp.
#include "fitting/loss_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hylas::fitting {
namespace {

constexpr double kFar = 10;  // beyond this factor of the fitted range a prediction warns (MATHS 4)

}  // namespace

CentredLog::CentredLog(std::string name, const LossData& data) : column(std::move(name)) {
  const std::vector<double>& values = data.at(column);
  low = *std::ranges::min_element(values);
  high = *std::ranges::max_element(values);
  for (const double value : values) centre += std::log(value) / static_cast<double>(values.size());
}

Vector CentredLog::of(const LossData& rows) const {
  const std::vector<double>& values = rows.at(column);
  return (Eigen::Map<const Eigen::ArrayXd>(values.data(), static_cast<Eigen::Index>(values.size())).log() - centre)
      .matrix();
}

void CentredLog::warn(double value, std::vector<std::string>& warnings) const {
  if (value <= kFar * high && value >= low / kFar) return;
  warnings.push_back(
      fmt::format("{} = {:.3g} is more than 10x beyond the fitted {:.3g} to {:.3g}", column, value, low, high));
}

std::vector<std::string> BasicLossModel::warnings(const LossData& rows, std::size_t row) const {
  std::vector<std::string> out;
  for (const CentredLog& log : logs_) log.warn(rows.at(log.column)[row], out);
  return out;
}

Box LossModel::box() const {
  const auto p = static_cast<Eigen::Index>(coordinates().size());
  Box box{Vector(p), Vector(p)};
  for (Eigen::Index j = 0; j < p; ++j) {
    box.lower[j] = coordinates()[j].lower;
    box.upper[j] = coordinates()[j].upper;
  }
  return box;
}

}  // namespace hylas::fitting
