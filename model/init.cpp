// Counter-based initial weights (see init.hpp).
#include "model/init.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "kernels/short_conv.hpp"
#include "model/data/philox.hpp"

namespace hylas::model {
namespace {

constexpr std::uint32_t kInitStream = 0x696e6974;  // "init": keeps these draws apart from every data stream

// 52 random bits, centred in (0, 1): never 0, so the logarithm below is finite.
double uniform(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32 | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

// Uniform numbers 2 * pair and 2 * pair + 1 of a weight, and the normal ones made of them.
std::array<double, 2> uniform_pair(std::uint64_t seed, std::size_t weight, std::int64_t pair) {
  const auto index = static_cast<std::uint64_t>(pair);
  const auto r = Philox4x32::block({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                                    static_cast<std::uint32_t>(weight), kInitStream},
                                   {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return {uniform(r[0], r[1]), uniform(r[2], r[3])};
}

std::array<double, 2> normal_pair(std::uint64_t seed, std::size_t weight, std::int64_t pair) {
  const auto [u, v] = uniform_pair(seed, weight, pair);
  const double radius = std::sqrt(-2.0 * std::log(u));
  const double angle = 2.0 * std::numbers::pi * v;
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

bool is_uniform(Init init) {
  return init == Init::conv || init == Init::a_log || init == Init::dt_bias;
}

// A weight's value from a number u of (0, 1).
double from_uniform(Init init, double u) {
  if (init == Init::a_log) return std::log(1 + 15 * u);
  if (init == Init::dt_bias) {
    constexpr double least = 1e-3, most = 1e-1;
    const double step = least * std::pow(most / least, u);
    return step + std::log(-std::expm1(-step));  // softplus of it is step
  }
  return (2 * u - 1) / std::sqrt(static_cast<double>(kernels::kConvWidth));
}

double deviation(const StoredWeight& weight, const Recipe& recipe, int layers) {
  if (weight.init == Init::embedding) return recipe.embed_std;
  const double fan_in = 1.0 / std::sqrt(static_cast<double>(weight.dims.back()));
  return weight.init == Init::output ? fan_in / std::sqrt(2.0 * layers) : fan_in;
}

template <class T>
void fill(const StoredWeight& weight, std::size_t index, const Recipe& recipe, int layers, T* out) {
  const std::int64_t n = weight.size();
  if (weight.init == Init::zero || weight.init == Init::one) {
    std::fill_n(out, n, weight.init == Init::one ? T(1) : T(0));
    return;
  }
  const bool uniform = is_uniform(weight.init);
  const double std = uniform ? 0 : deviation(weight, recipe, layers);
  const auto seed = static_cast<std::uint64_t>(recipe.seed);
  for (std::int64_t i = 0; i < n; i += 2) {
    const auto pair = uniform ? uniform_pair(seed, index, i / 2) : normal_pair(seed, index, i / 2);
    for (std::int64_t k = i; k < std::min(n, i + 2); ++k) {
      const double drawn = pair[static_cast<std::size_t>(k - i)];
      out[k] = static_cast<T>(uniform ? from_uniform(weight.init, drawn) : std * drawn);
    }
  }
}

template <class T>
void fill_all(const ParameterTable& table, const Recipe& recipe, int layers, T* block) {
  std::fill_n(block, table.size(), T(0));
  for (std::size_t k = 0; k < table.stored().size(); ++k) {
    fill(table.stored()[k], k, recipe, layers, block + table.stored()[k].offset);
  }
}

}  // namespace

void initialise(const ParameterTable& table, const Recipe& recipe, int layers, const kernels::Tensor& weights) {
  if (weights.dtype() == kernels::DType::f64) {
    fill_all(table, recipe, layers, weights.trial<double>());
  } else {
    fill_all(table, recipe, layers, weights.trial<float>());
  }
}

void initialise_weight(const ParameterTable& table, std::size_t index, const Recipe& recipe, int layers, float* out) {
  fill(table.stored()[index], index, recipe, layers, out);
}

}  // namespace hylas::model
