// What proxies with recurrent mixers declare: as many weights as their cost says, Hugging Face's names and shapes, how
// each of them starts, and Lightning's decays.
#include <cmath>

#include "model/data/philox.hpp"
#include "model/design/cost.hpp"
#include "model/init.hpp"
#include "model/mixer/lightning.hpp"
#include "model/proxy.hpp"
#include "tests/catch.hpp"
#include "tests/model/test_recurrent_common.hpp"

namespace hylas::tests {

using model::Design;
using model::Proxy;
using model::Shape;

TEST_CASE("recurrent: the weights that a proxy declares are as many as its cost says, for every mixer", "[mixer]") {
  Shape wide = small_shape();
  wide.d_model = 96, wide.heads = 5, wide.head_dim = 16, wide.ffn = 0, wide.tied = false;
  for (const Shape& shape : {small_shape(), wide}) {
    for (const char* layout : {"full", "swa:3/nope", "full/sink swa:2/sink", "gdn", "mamba2", "lightning",
                               "(gdn full)*2", "mamba2 swa:4 lightning gdn*2 full/sink"}) {
      INFO(layout << ", d_model " << shape.d_model);
      const Design design = Design::make(layout, shape);
      const Proxy proxy(design);
      std::int64_t count = 0;
      for (const auto& weight : proxy.parameters().stored()) {
        const bool here =
            weight.sink_layer < 0 || design.layout.layers[static_cast<std::size_t>(weight.sink_layer)].sink;
        if (here) count += weight.size();
      }
      CHECK(count == model::cost_of(design).parameters_total);
    }
  }
}

TEST_CASE("recurrent: weights have Hugging Face's names and dims, and convolutions decay as matrices do", "[mixer]") {
  const Proxy proxy(Design::make("gdn mamba2 lightning", small_shape()));
  using Dims = std::vector<std::int64_t>;
  const std::pair<const char*, Dims> want[] = {{"model.layers.0.linear_attn.in_proj_qkvz.weight", {96, 32}},
                                               {"model.layers.0.linear_attn.in_proj_ba.weight", {6, 32}},
                                               {"model.layers.0.linear_attn.conv1d.weight", {72, 1, 4}},
                                               {"model.layers.0.linear_attn.out_proj.weight", {32, 24}},
                                               {"model.layers.0.linear_attn.dt_bias", {3}},
                                               {"model.layers.0.linear_attn.A_log", {3}},
                                               {"model.layers.0.linear_attn.norm.weight", {8}},
                                               {"model.layers.0.input_layernorm.weight", {32}},
                                               {"model.layers.1.mamba.in_proj.weight", {257, 32}},
                                               {"model.layers.1.mamba.conv1d.weight", {192, 1, 4}},
                                               {"model.layers.1.mamba.out_proj.weight", {32, 64}},
                                               {"model.layers.1.mamba.conv1d.bias", {192}},
                                               {"model.layers.1.mamba.dt_bias", {1}},
                                               {"model.layers.1.mamba.A_log", {1}},
                                               {"model.layers.1.mamba.D", {1}},
                                               {"model.layers.1.mamba.norm.weight", {64}},
                                               {"model.layers.1.input_layernorm.weight", {32}},
                                               {"model.layers.2.self_attn.qkv_proj.weight", {72, 32}},
                                               {"model.layers.2.self_attn.output_gate.weight", {24, 32}},
                                               {"model.layers.2.self_attn.out_proj.weight", {32, 24}},
                                               {"model.layers.2.self_attn.norm.weight", {24}},
                                               {"model.layers.2.input_layernorm.weight", {32}}};
  std::size_t found = 0;
  for (const auto& weight : proxy.parameters().stored()) {
    INFO(weight.name);
    const bool matrix = weight.dims.size() > 1;
    CHECK((matrix ? weight.offset + weight.size() <= proxy.parameters().decay_count()
                  : weight.offset >= proxy.parameters().decay_count()));
    for (const auto& [name, dims] : want) {
      if (weight.name != name) continue;
      CHECK(weight.dims == dims);
      ++found;
    }
  }
  CHECK(found == std::size(want));
  CHECK(proxy.parameters().stored().size() == found + 2 + 3 * 4);  // and embedding, final norm, feed-forward blocks
}

TEST_CASE("recurrent: convolutions, decays and time steps start in their ranges, evenly", "[mixer]") {
  Shape shape = small_shape();
  shape.d_model = 4096, shape.heads = 512, shape.head_dim = 2, shape.ffn = 0, shape.vocab = 2;
  const Design design = Design::make("mamba2", shape);
  const Proxy mamba2(design), gdn(Design::make("gdn", shape));
  model::Recipe recipe;
  recipe.seed = 3;
  const auto check = [&](const Proxy& proxy, const std::string& end, double least, double most, auto undo) {
    const auto& stored = proxy.parameters().stored();
    for (std::size_t k = 0; k < stored.size(); ++k) {
      if (!stored[k].name.ends_with(end)) continue;
      INFO(stored[k].name);
      std::vector<float> values(static_cast<std::size_t>(stored[k].size()));
      model::initialise_weight(proxy.parameters(), k, recipe, 1, values.data());
      const auto n = static_cast<double>(values.size());
      double sum = 0, squares = 0;
      for (const float value : values) {
        const double u = (undo(static_cast<double>(value)) - least) / (most - least);  // uniform in (0, 1)
        CHECK(u > -1e-5);
        CHECK(u < 1 + 1e-5);
        sum += u;
        squares += (u - 0.5) * (u - 0.5);
      }
      // Five standard errors of a uniform number's mean and variance (1/12 and, of squares, 1/180).
      CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
      CHECK(std::abs(squares / n - 1.0 / 12) < 5 * std::sqrt(1.0 / 180 / n));
      return true;
    }
    return false;
  };
  const auto same = [](double x) { return x; };
  const auto step = [](double x) { return std::log(std::log1p(std::exp(x))); };  // ln softplus
  CHECK(check(gdn, "conv1d.weight", -0.5, 0.5, same));
  CHECK(check(mamba2, "conv1d.weight", -0.5, 0.5, same));
  CHECK(check(mamba2, "conv1d.bias", -0.5, 0.5, same));
  for (const Proxy* proxy : {&gdn, &mamba2}) {
    CHECK(check(*proxy, "A_log", 1, 16, [](double x) { return std::exp(x); }));
    CHECK(check(*proxy, "dt_bias", std::log(1e-3), std::log(1e-1), step));
  }
}

TEST_CASE("recurrent: a time step is softplus of its bias, drawn by weight and element", "[mixer]") {
  const Proxy proxy(Design::make("gdn mamba2", small_shape()));
  model::Recipe recipe;
  recipe.seed = 12;
  const auto& stored = proxy.parameters().stored();
  int found = 0;
  for (std::size_t k = 0; k < stored.size(); ++k) {
    if (!stored[k].name.ends_with("dt_bias")) continue;
    std::vector<float> values(static_cast<std::size_t>(stored[k].size()));
    model::initialise_weight(proxy.parameters(), k, recipe, 2, values.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto r = model::Philox4x32::block(
          {static_cast<std::uint32_t>(i / 2), 0, static_cast<std::uint32_t>(k), 0x696e6974}, {12, 0});
      const double u = (i % 2 == 0 ? r[0] : r[2]) * 0x1p-32;  // its first 32 bits
      const double step = std::log1p(std::exp(static_cast<double>(values[i])));
      CHECK(step == Approx(1e-3 * std::pow(100.0, u)).epsilon(1e-5));
      ++found;
    }
  }
  CHECK(found == 4);
}

TEST_CASE("recurrent: lightning's decays are those of MiniMax-01", "[mixer]") {
  for (const std::int64_t heads : {1, 3, 8}) {
    for (const std::int64_t layers : {2, 3, 10}) {
      for (std::int64_t layer = 0; layer < layers; ++layer) {
        for (std::int64_t head = 0; head < heads; ++head) {
          CAPTURE(heads, layers, layer, head);
          const double rate = std::pow(std::pow(2.0, -8.0 / static_cast<double>(heads)), static_cast<double>(head + 1));
          const double got = model::lightning_decay(head, heads, layer, layers);
          const auto l = static_cast<double>(layer), last = static_cast<double>(layers - 1);
          CHECK(got == Approx(-rate * (1 - l / last + 1e-5)).epsilon(1e-12));
          // Hugging Face's form of it.
          CHECK(std::abs(got + rate * (1 - l / (last + 1e-5) + 1e-5)) <= 1e-5 * rate);
          CHECK(got < 0);
        }
      }
    }
    CHECK(model::lightning_decay(0, heads, 0, 1) == Approx(-std::pow(2.0, -8.0 / static_cast<double>(heads))));
  }
}

}  // namespace hylas::tests
