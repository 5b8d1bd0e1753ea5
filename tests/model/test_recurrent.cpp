// Proxies with recurrent mixers: gradients, any P, evaluation, causality, learning. Their weights are
// test_recurrent_weights.cpp's business.
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/add_rmsnorm.hpp"
#include "kernels/embed.hpp"
#include "kernels/linear.hpp"
#include "model/init.hpp"
#include "model/mixer/lightning.hpp"
#include "model/optimizer.hpp"
#include "model/proxy.hpp"
#include "tests/catch.hpp"
#include "tests/model/test_recurrent_common.hpp"

namespace hylas::tests {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;
using model::Design;
using model::Mixer;
using model::Proxy;
using model::Shape;

constexpr unsigned kSeed = 31;

std::vector<std::int32_t> random_tokens(std::int64_t n, std::int32_t vocab, std::mt19937& random) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(n));
  for (auto& t : tokens) t = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

// Initial weights, the vectors moved away from where they start so that each of them matters.
template <class T>
std::vector<T> random_weights(const Proxy& proxy, std::mt19937& random) {
  const model::ParameterTable& table = proxy.parameters();
  std::vector<T> weights(static_cast<std::size_t>(table.size()));
  model::Recipe recipe;
  recipe.seed = static_cast<std::int64_t>(random() % 1000);
  model::initialise(table, recipe, proxy.depth(), Tensor::of(weights.data(), {1, table.size()}));
  std::normal_distribution<double> normal;
  for (const auto& weight : table.stored()) {
    if (weight.dims.size() != 1) continue;
    for (std::int64_t i = 0; i < weight.size(); ++i) {
      weights[static_cast<std::size_t>(weight.offset + i)] += static_cast<T>(0.2 * normal(random));
    }
  }
  return weights;
}

// One batch of one design, in fp64: its loss as a function of the weights.
struct Batch {
  Design design;
  Proxy proxy;
  std::int64_t B = 2, T;
  std::vector<std::int32_t> tokens, targets;
  std::vector<double> loss;
  Context ctx;

  Batch(const std::string& layout, const Shape& shape, std::mt19937& random)
      : design(Design::make(layout, shape)), proxy(design, DType::f64), T(shape.context) {
    const auto vocab = static_cast<std::int32_t>(shape.vocab);
    tokens = random_tokens(B * T, vocab, random);
    targets = random_tokens(B * T, vocab, random);
    loss.resize(tokens.size());
  }
  double run(std::vector<double>& weights, std::vector<double>& grads) {
    const std::int64_t N = proxy.parameters().size();
    const model::Layout* layout = &design.layout;
    std::fill(grads.begin(), grads.end(), 0.0);
    proxy.loss_and_gradients(ctx, {{&layout, 1}, T}, Tensor::of(weights.data(), {1, N}),
                             Tensor::of(tokens.data(), {1, B, T}), Tensor::of(targets.data(), {1, B, T}), 1.0,
                             Tensor::of(loss.data(), {1, B, T}), Tensor::of(grads.data(), {1, N}));
    double sum = 0;
    for (const double x : loss) sum += x;
    return sum;
  }
};

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

// The layers of a proxy by hand, each with the decays of its place.
TEST_CASE("recurrent: layer l of a proxy has the decays of layer l", "[mixer]") {
  std::mt19937 random(kSeed);
  Shape shape = small_shape();
  shape.ffn = 0;
  const Design design = Design::make("lightning*3", shape);
  const Proxy proxy(design, DType::f64);
  std::vector<double> weights = random_weights<double>(proxy, random);
  const std::int64_t T = shape.context, V = shape.vocab, d = shape.d_model, H = shape.heads;
  std::vector<std::int32_t> tokens = random_tokens(T, static_cast<std::int32_t>(V), random);
  std::vector<double> got(static_cast<std::size_t>(T * V)), want = got, decay;
  Context ctx;
  const model::Layout* layout = &design.layout;
  proxy.logits(ctx, {{&layout, 1}, T}, Tensor::of(weights.data(), {1, std::ssize(weights)}),
               Tensor::of(tokens.data(), {1, 1, T}), Tensor::of(got.data(), {1, 1, T, V}));

  for (int l = 0; l < 3; ++l) {
    for (std::int64_t h = 0; h < H; ++h) decay.push_back(model::lightning_decay(h, H, l, 3));
  }
  model::MixerFrame frame;
  frame.shape = shape, frame.dtype = DType::f64, frame.decay = Tensor::of(decay.data(), {3, H});
  model::ParameterTable table;
  const model::ParameterId embedding = table.add_matrix(d, {{"model.embed_tokens.weight", V, model::Init::embedding}});
  std::vector<std::unique_ptr<model::MixerOperator>> mixers;
  mixers.reserve(3);
  for (int l = 0; l < 3; ++l) mixers.push_back(model::make_mixer(Mixer::lightning, l, frame, table));
  const model::ParameterId norm = table.add_vector("model.norm.weight", d, model::Init::one);
  table.freeze();
  REQUIRE(table.size() == std::ssize(weights));  // the same declarations in the same order: the same block
  const model::Weights block = Tensor::of(weights.data(), {1, table.size()});
  const Tensor x = ctx.arena.tensor(DType::f64, {1, 1, T, d}), h = ctx.arena.tensor(DType::f64, {1, 1, T, d});
  kernels::embed_forward(ctx, table.view(block, embedding), Tensor::of(tokens.data(), {1, 1, T}), x);
  for (const auto& mixer : mixers) {
    model::MixerSaved saved;
    mixer->forward(ctx, {}, block, x, x, saved);
  }
  kernels::add_rmsnorm_forward(ctx, x, {}, table.view(block, norm), model::kNormEps, h,
                               ctx.arena.tensor(DType::f64, {1, 1, T}));
  kernels::linear_forward(ctx, h, table.view(block, embedding), Tensor::of(want.data(), {1, 1, T, V}));
  CHECK(got == want);
}

TEST_CASE("recurrent: every gradient of a whole proxy is that of finite differences", "[mixer]") {
  // Each stored weight in a random direction of its own, fp64. The loss is about 120, so that differences over a step
  // of 2e-5 carry a rounding error of 1e-8 and little of the third derivative.
  std::mt19937 random(kSeed);
  for (const char* layout : {"gdn", "mamba2", "lightning", "gdn full mamba2/nope lightning"}) {
    Shape shape = small_shape();
    shape.tied = std::strlen(layout) < 10;
    Batch batch(layout, shape, random);
    std::vector<double> weights = random_weights<double>(batch.proxy, random), grads(weights.size()), unused = grads;
    batch.run(weights, grads);
    std::normal_distribution<double> normal;
    for (const auto& weight : batch.proxy.parameters().stored()) {
      INFO(layout << ", " << weight.name);
      std::vector<double> direction(weights.size(), 0.0);
      for (std::int64_t i = 0; i < weight.size(); ++i) {
        direction[static_cast<std::size_t>(weight.offset + i)] = normal(random);
      }
      const double length = std::sqrt(dot(direction, direction)), h = 1e-5;
      for (double& d : direction) d /= length;
      const auto at = [&](double t) {
        std::vector<double> moved = weights;
        for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += t * direction[i];
        return batch.run(moved, unused);
      };
      const double numeric = (at(h) - at(-h)) / (2 * h), exact = dot(grads, direction);
      CHECK(std::abs(numeric - exact) <= 1e-6 * std::max(1.0, std::abs(exact)));
      const bool off = weight.sink_layer >= 0;
      CHECK((off ? exact == 0 : std::abs(exact) > 1e-9));
    }
  }
}

TEST_CASE("recurrent: trials in one call have the bits each has alone, and evaluation those of training", "[mixer]") {
  // The windows of the attention layers between differ; T over a chunk of 64.
  const Shape shape = small_shape(70);
  std::vector<Design> designs;
  for (const char* text : {"gdn swa:4 mamba2 lightning", "gdn full/nope mamba2 lightning"}) {
    designs.push_back(Design::make(text, shape));
  }
  const Proxy proxy(designs[0]);
  std::mt19937 random(kSeed);
  const std::int64_t N = proxy.parameters().size(), P = 2, B = 2, T = 70, n = B * T;
  std::vector<float> weights, grads(static_cast<std::size_t>(P * N)), loss(static_cast<std::size_t>(P * n), NAN);
  std::vector<float> evaluated = loss;
  std::vector<const model::Layout*> layouts;
  layouts.reserve(designs.size());
  for (const Design& design : designs) {
    layouts.push_back(&design.layout);
    const auto one = random_weights<float>(proxy, random);
    weights.insert(weights.end(), one.begin(), one.end());
  }
  std::vector<std::int32_t> tokens = random_tokens(P * n, 19, random), targets = random_tokens(P * n, 19, random);
  std::vector<std::int32_t> predicted = targets;
  Context ctx;
  proxy.loss_and_gradients(ctx, {layouts, T}, Tensor::of(weights.data(), {P, N}), Tensor::of(tokens.data(), {P, B, T}),
                           Tensor::of(targets.data(), {P, B, T}), 1.0 / 48, Tensor::of(loss.data(), {P, B, T}),
                           Tensor::of(grads.data(), {P, N}));
  proxy.evaluate(ctx, {layouts, T}, Tensor::of(weights.data(), {P, N}), Tensor::of(tokens.data(), {P, B, T}),
                 Tensor::of(targets.data(), {P, B, T}), Tensor::of(evaluated.data(), {P, B, T}),
                 Tensor::of(predicted.data(), {P, B, T}));
  CHECK(std::memcmp(loss.data(), evaluated.data(), loss.size() * sizeof(float)) == 0);
  for (std::int64_t p = 0; p < P; ++p) {
    INFO("trial " << p);
    const std::span<const model::Layout* const> all(layouts);
    std::vector<float> grads1(static_cast<std::size_t>(N), 0.0F), loss1(static_cast<std::size_t>(n), NAN);
    proxy.loss_and_gradients(ctx, {all.subspan(static_cast<std::size_t>(p), 1), T},
                             Tensor::of(weights.data() + p * N, {1, N}), Tensor::of(tokens.data() + p * n, {1, B, T}),
                             Tensor::of(targets.data() + p * n, {1, B, T}), 1.0 / 48,
                             Tensor::of(loss1.data(), {1, B, T}), Tensor::of(grads1.data(), {1, N}));
    CHECK(std::memcmp(loss1.data(), loss.data() + p * n, loss1.size() * sizeof(float)) == 0);
    CHECK(std::memcmp(grads1.data(), grads.data() + p * N, grads1.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("recurrent: no position sees a later one", "[mixer]") {
  std::mt19937 random(kSeed);
  for (const char* layout : {"gdn", "mamba2", "lightning"}) {
    INFO(layout);
    Batch batch(layout, small_shape(), random);
    std::vector<double> weights = random_weights<double>(batch.proxy, random), grads(weights.size());
    batch.run(weights, grads);
    const std::vector<double> before = batch.loss;
    const std::size_t changed = 11;
    batch.tokens[changed] = (batch.tokens[changed] + 1) % 19;
    batch.run(weights, grads);
    for (std::size_t i = 0; i < before.size(); ++i) {
      INFO("position " << i);
      const bool later = i >= changed && i < static_cast<std::size_t>(batch.T);
      CHECK((batch.loss[i] != before[i]) == later);
    }
  }
}

TEST_CASE("recurrent: overfits one batch", "[mixer]") {
  // Random tokens hold no pattern: a loss near zero means that gradients reach what memory needs.
  std::mt19937 random(kSeed);
  for (const char* layout : {"gdn*2", "mamba2*2", "lightning*2"}) {
    INFO(layout);
    Batch batch(layout, small_shape(), random);
    std::vector<double> weights(static_cast<std::size_t>(batch.proxy.parameters().size())), grads(weights.size()),
        m(weights.size()), v(weights.size());
    model::Recipe recipe;
    recipe.learning_rate = 1e-2;
    recipe.weight_decay = 0;
    recipe.steps = 150;
    recipe.schedule.warmup_steps = 10;
    const auto block = [](std::vector<double>& values) { return Tensor::of(values.data(), {1, std::ssize(values)}); };
    model::initialise(batch.proxy.parameters(), recipe, 2, block(weights));
    for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
      batch.targets[i] = (i + 1) % static_cast<std::size_t>(batch.T) == 0 ? -1 : batch.tokens[i + 1];
    }
    const double scored = static_cast<double>(batch.B * (batch.T - 1));
    double first = 0, last = 0;
    for (std::int64_t step = 1; step <= recipe.steps; ++step) {
      last = batch.run(weights, grads) / scored;
      for (double& g : grads) g /= scored;
      if (step == 1) first = last;
      const auto plan = model::plan_update(batch.ctx, recipe, step, block(grads));
      model::apply_update(batch.ctx, batch.proxy.parameters(), recipe, plan, block(grads),
                          {block(weights), block(m), block(v)}, 0, std::ssize(weights));
    }
    CHECK(first > 2.5);  // about ln 19
    CHECK(last < 0.1);
  }
}

}  // namespace hylas::tests
