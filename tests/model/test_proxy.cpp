// The proxy beside itself: any P, names of weights, initialisation, and that it can learn a batch by heart.
#include "model/proxy.hpp"

#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "model/init.hpp"
#include "model/optimizer.hpp"
#include "tests/catch.hpp"

namespace hylas::tests {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;
using model::Design;
using model::Shape;

Shape small_shape(bool tied) {
  return {.d_model = 32,
          .heads = 2,
          .kv_heads = 1,
          .head_dim = 16,
          .ffn = 48,
          .vocab = 20,
          .context = 24,
          .tied = tied,
          .rope_theta = 10000.0};
}

std::vector<std::int32_t> random_tokens(std::size_t n, std::int32_t vocab, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens(n);
  for (auto& t : tokens) t = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

}  // namespace

TEST_CASE("proxy: stored weights have SmolLM3's names, do not overlap, and matrices come first", "[proxy]") {
  const model::Proxy proxy(Design::make("swa:4 full/nope/sink", small_shape(false)));
  const model::ParameterTable& table = proxy.parameters();
  std::set<std::string> names;
  std::vector<int> owner(static_cast<std::size_t>(table.size()), 0);
  for (const auto& weight : table.stored()) {
    INFO(weight.name);
    CHECK(names.insert(weight.name).second);
    const bool matrix = weight.dims.size() == 2;
    CHECK((matrix ? weight.offset + weight.size() <= table.decay_count() : weight.offset >= table.decay_count()));
    for (std::int64_t i = 0; i < weight.size(); ++i) ++owner[static_cast<std::size_t>(weight.offset + i)];
  }
  CHECK(*std::max_element(owner.begin(), owner.end()) == 1);
  for (const char* name : {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                           "model.layers.0.self_attn.k_proj.weight", "model.layers.1.self_attn.v_proj.weight",
                           "model.layers.1.self_attn.o_proj.weight", "model.layers.0.mlp.gate_proj.weight",
                           "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight",
                           "model.layers.0.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight",
                           "model.norm.weight", "lm_head.weight", "model.layers.1.self_attn.sinks"}) {
    INFO(name);
    CHECK(names.count(name) == 1);
  }
  const model::Proxy tied(Design::make("full", small_shape(true)));
  for (const auto& weight : tied.parameters().stored()) CHECK(weight.name != "lm_head.weight");
}

TEST_CASE("proxy: a shape that a recurrent mixer's kernels do not take on a GPU is refused by name", "[proxy]") {
  using kernels::DeviceKind;
  using model::Mixer;
  struct Case {
    Mixer mixer;
    std::int64_t d_model, heads, head_dim;
    std::string name;  // empty: it is taken
  };
  const auto c = GENERATE(values<Case>({{Mixer::full, 8192, 512, 256, ""},
                                        {Mixer::swa, 8192, 512, 256, ""},
                                        {Mixer::gdn, 8192, 256, 128, ""},
                                        {Mixer::gdn, 64, 1, 136, "shape.head_dim"},
                                        {Mixer::gdn, 64, 257, 8, "shape.heads"},
                                        {Mixer::mamba2, 4096, 1, 256, ""},
                                        {Mixer::mamba2, 4128, 1, 8, "shape.d_model"},
                                        {Mixer::lightning, 64, 64, 128, ""},
                                        {Mixer::lightning, 64, 2, 256, "shape.head_dim"},
                                        {Mixer::lightning, 64, 65, 128, "shape.heads x shape.head_dim"}}));
  Shape shape = small_shape(true);
  shape.d_model = c.d_model, shape.heads = c.heads, shape.head_dim = c.head_dim;
  CHECK_NOTHROW(model::check_mixer(c.mixer, 7, shape, DeviceKind::cpu));
  std::string message;
  try {
    model::check_mixer(c.mixer, 7, shape, DeviceKind::cuda);
  } catch (const model::InputError& error) {
    message = error.what();
  }
  INFO(message << ", " << model::name_of(c.mixer));
  CHECK(message.empty() == c.name.empty());
  if (c.name.empty()) return;
  for (const std::string& part :
       {std::string("layer 7"), std::string(model::name_of(c.mixer)), c.name, std::string("--device cpu")}) {
    CHECK(message.find(part) != std::string::npos);
  }
}

TEST_CASE("init: standard deviations are the recipe's, and a weight depends on its seed alone", "[proxy]") {
  const Shape shape{.d_model = 64,
                    .heads = 2,
                    .kv_heads = 2,
                    .head_dim = 32,
                    .ffn = 128,
                    .vocab = 200,
                    .context = 32,
                    .tied = false,
                    .rope_theta = 10000.0};
  const model::Proxy proxy(Design::make("full*3", shape));
  const model::ParameterTable& table = proxy.parameters();
  model::Recipe recipe;
  recipe.seed = 7;
  std::vector<float> a(static_cast<std::size_t>(table.size()), NAN), b = a, other = a;
  model::initialise(table, recipe, 3, Tensor::of(a.data(), {1, table.size()}));
  model::initialise(table, recipe, 3, Tensor::of(b.data(), {1, table.size()}));
  recipe.seed = 8;
  model::initialise(table, recipe, 3, Tensor::of(other.data(), {1, table.size()}));
  CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);

  for (const auto& weight : table.stored()) {
    INFO(weight.name);
    const auto n = static_cast<double>(weight.size());
    double sum = 0, squares = 0, fourth = 0, equal = 0;
    for (std::int64_t i = weight.offset; i < weight.offset + weight.size(); ++i) {
      const double x = a[static_cast<std::size_t>(i)];
      sum += x;
      squares += x * x;
      fourth += x * x * x * x;
      equal += a[static_cast<std::size_t>(i)] == other[static_cast<std::size_t>(i)];
    }
    const double std = std::sqrt(squares / n);
    if (weight.dims.size() == 1) {
      const bool sink = weight.name.find("sinks") != std::string::npos;
      CHECK(sum == (sink ? 0.0 : n));
      CHECK(squares == (sink ? 0.0 : n));
      continue;
    }
    double want = std::pow(static_cast<double>(weight.dims[1]), -0.5);
    if (weight.name == "model.embed_tokens.weight") want = 0.3;
    const bool output =
        weight.name.find("o_proj") != std::string::npos || weight.name.find("down_proj") != std::string::npos;
    if (output) want /= std::sqrt(6.0);
    // 4096 numbers or more: five standard errors of a standard deviation, of a mean, of a kurtosis.
    CHECK(std::abs(std / want - 1) < 5 / std::sqrt(2 * n));
    CHECK(std::abs(sum / n) < 5 * want / std::sqrt(n));
    CHECK(std::abs(fourth / n / (squares / n * squares / n) - 3) < 5 * std::sqrt(24 / n));
    CHECK(equal < 0.01 * n);
  }
}

TEST_CASE("init: weights do not depend on windows, position encoding or sinks", "[proxy]") {
  const model::Recipe recipe;
  const model::Proxy a(Design::make("swa:4 full/nope/sink", small_shape(true)));
  const model::Proxy b(Design::make("full swa:16", small_shape(true)));
  REQUIRE(a.parameters().size() == b.parameters().size());
  std::vector<float> x(static_cast<std::size_t>(a.parameters().size())), y = x;
  model::initialise(a.parameters(), recipe, 2, Tensor::of(x.data(), {1, a.parameters().size()}));
  model::initialise(b.parameters(), recipe, 2, Tensor::of(y.data(), {1, b.parameters().size()}));
  CHECK(x == y);
}

TEST_CASE("proxy: three trials in one call have the bits each has alone", "[proxy]") {
  // Windows, RoPE and sinks differ; the leading trial dimension must not leak from one to the other.
  const unsigned seed = 11;
  INFO("seed " << seed);
  std::vector<Design> designs;
  for (const char* text : {"swa:4 full", "full/nope swa:9/sink", "full/sink swa:1/nope"}) {
    designs.push_back(Design::make(text, small_shape(true)));
  }
  const model::Proxy proxy(designs[0]);
  const std::int64_t N = proxy.parameters().size(), P = 3, B = 2, T = 24, n = B * T;
  std::vector<float> weights(static_cast<std::size_t>(P * N)), grads(weights.size(), 0.0F);
  std::vector<float> loss(static_cast<std::size_t>(P * n), NAN), evaluated = loss;
  std::vector<std::int32_t> tokens = random_tokens(static_cast<std::size_t>(P * n), 20, seed);
  std::vector<std::int32_t> targets = random_tokens(static_cast<std::size_t>(P * n), 20, seed + 1), predicted = targets;
  std::vector<const model::Layout*> layouts;
  for (std::int64_t p = 0; p < P; ++p) {
    model::Recipe recipe;
    recipe.seed = p;
    layouts.push_back(&designs[static_cast<std::size_t>(p)].layout);
    const Tensor block = Tensor::of(weights.data() + p * N, {1, N});
    model::initialise(proxy.parameters(), recipe, 2, block);
    // Sinks and norms away from their start, so that they matter.
    for (std::int64_t i = proxy.parameters().decay_count(); i < N; ++i) {
      weights[static_cast<std::size_t>(p * N + i)] += 0.01F * static_cast<float>(i % 7);
    }
  }
  Context ctx;
  proxy.loss_and_gradients(ctx, {layouts, T}, Tensor::of(weights.data(), {P, N}), Tensor::of(tokens.data(), {P, B, T}),
                           Tensor::of(targets.data(), {P, B, T}), 1.0 / 48, Tensor::of(loss.data(), {P, B, T}),
                           Tensor::of(grads.data(), {P, N}));
  proxy.evaluate(ctx, {layouts, T}, Tensor::of(weights.data(), {P, N}), Tensor::of(tokens.data(), {P, B, T}),
                 Tensor::of(targets.data(), {P, B, T}), Tensor::of(evaluated.data(), {P, B, T}),
                 Tensor::of(predicted.data(), {P, B, T}));
  for (std::int64_t p = 0; p < P; ++p) {
    INFO("trial " << p);
    const std::span<const model::Layout* const> all(layouts);
    const model::LayoutData data(all.subspan(static_cast<std::size_t>(p), 1), T);
    std::vector<float> grads1(static_cast<std::size_t>(N), 0.0F), loss1(static_cast<std::size_t>(n), NAN),
        eval1 = loss1;
    std::vector<std::int32_t> predicted1(static_cast<std::size_t>(n), -9);
    const Tensor w = Tensor::of(weights.data() + p * N, {1, N});
    const Tensor x = Tensor::of(tokens.data() + p * n, {1, B, T}), y = Tensor::of(targets.data() + p * n, {1, B, T});
    proxy.loss_and_gradients(ctx, data, w, x, y, 1.0 / 48, Tensor::of(loss1.data(), {1, B, T}),
                             Tensor::of(grads1.data(), {1, N}));
    proxy.evaluate(ctx, data, w, x, y, Tensor::of(eval1.data(), {1, B, T}), Tensor::of(predicted1.data(), {1, B, T}));
    CHECK(std::memcmp(loss1.data(), loss.data() + p * n, loss1.size() * sizeof(float)) == 0);
    CHECK(std::memcmp(grads1.data(), grads.data() + p * N, grads1.size() * sizeof(float)) == 0);
    CHECK(std::memcmp(eval1.data(), evaluated.data() + p * n, eval1.size() * sizeof(float)) == 0);
    CHECK(std::equal(predicted1.begin(), predicted1.end(), predicted.begin() + p * n));
  }
}

TEST_CASE("proxy: overfits one batch", "[proxy]") {
  // Random tokens hold no pattern: a loss near zero means that gradients reach what memory needs.
  const unsigned seed = 5;
  INFO("seed " << seed);
  const Design design = Design::make("swa:4 full/nope", small_shape(true));
  const model::Proxy proxy(design);
  const std::int64_t N = proxy.parameters().size(), B = 2, T = 24;
  std::vector<float> weights(static_cast<std::size_t>(N)), grads(weights.size()), m(weights.size()), v(weights.size());
  model::Recipe recipe;
  recipe.learning_rate = 1e-2;
  recipe.weight_decay = 0;
  recipe.steps = 200;
  recipe.schedule.warmup_steps = 10;
  model::initialise(proxy.parameters(), recipe, 2, Tensor::of(weights.data(), {1, N}));
  std::vector<std::int32_t> tokens = random_tokens(B * T, 20, seed), targets = tokens;
  for (std::size_t i = 0; i < tokens.size(); ++i) targets[i] = (i + 1) % T == 0 ? -1 : tokens[i + 1];
  const model::Layout* layout = &design.layout;
  const model::LayoutData data({&layout, 1}, T);
  std::vector<float> loss(tokens.size());
  Context ctx;
  double first = 0, last = 0;
  for (std::int64_t step = 1; step <= recipe.steps; ++step) {
    std::fill(grads.begin(), grads.end(), 0.0F);
    const double scored = static_cast<double>(B * (T - 1));
    proxy.loss_and_gradients(ctx, data, Tensor::of(weights.data(), {1, N}), Tensor::of(tokens.data(), {1, B, T}),
                             Tensor::of(targets.data(), {1, B, T}), 1.0 / scored, Tensor::of(loss.data(), {1, B, T}),
                             Tensor::of(grads.data(), {1, N}));
    const Tensor g = Tensor::of(grads.data(), {1, N});
    const auto plan = model::plan_update(ctx, recipe, step, g);
    model::apply_update(
        ctx, proxy.parameters(), recipe, plan, g,
        {Tensor::of(weights.data(), {1, N}), Tensor::of(m.data(), {1, N}), Tensor::of(v.data(), {1, N})}, 0, N);
    last = 0;
    for (float x : loss) last += static_cast<double>(x) / scored;
    if (step == 1) first = last;
  }
  CHECK(first > 2.5);  // about ln 20
  CHECK(last < 0.05);
}

}  // namespace hylas::tests
