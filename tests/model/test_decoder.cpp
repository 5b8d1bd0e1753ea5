// The decoder head of tasks that are answered from the last hidden state: its gradients, that nothing but the last
// state reaches its predictions, which models have one, and that a cohort learns with it.
#include "model/decoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "model/cohort.hpp"
#include "model/data/task.hpp"
#include "model/init.hpp"
#include "model/probe/prober.hpp"
#include "model/proxy.hpp"
#include "model/proxy_at.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/support.hpp"
#include "tests/model/test_decoder_common.hpp"

namespace hylas::tests {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;
using model::Design;
using model::Head;
using model::Proxy;
using test::at;
using test::Ints;
using test::Vector;

model::Shape shape_of(std::int64_t ffn, bool tied, std::int64_t context = 7) {
  return {.d_model = 16,
          .heads = 2,
          .kv_heads = 1,
          .head_dim = 8,
          .ffn = ffn,
          .vocab = 11,
          .context = context,
          .tied = tied,
          .rope_theta = 10000.0};
}

// A model of one trial in double, with random weights and functions of its weights and tokens.
struct Model {
  Design design;
  Proxy proxy;
  Vector weights;
  std::int64_t B = 2, T, V;

  Model(const std::string& layout, const model::Shape& shape, Head head, test::Random& random)
      : design(Design::make(layout, shape)), proxy(design, DType::f64, {}, head), T(shape.context), V(shape.vocab) {
    weights.assign(at(proxy.parameters().size()), 0.0);
    for (const auto& weight : proxy.parameters().stored()) {
      const bool norm = weight.init == model::Init::one;
      const Vector values = random.normal(weight.size(), norm || weight.dims.size() == 1 ? 0.2 : 0.4);
      for (std::size_t i = 0; i < values.size(); ++i) weights[at(weight.offset) + i] = values[i] + (norm ? 1 : 0);
    }
  }
  [[nodiscard]] model::LayoutData layout() const {
    const model::Layout* layout = &design.layout;
    return {{&layout, 1}, T};
  }
  [[nodiscard]] Tensor block(const Vector& values) const {
    return Tensor::of(const_cast<double*>(values.data()), {1, proxy.parameters().size()});  // NOLINT: only read
  }
  [[nodiscard]] Vector logits(Ints tokens) const {
    Context ctx;
    Vector result(at(B * T * V), NAN);
    proxy.logits(ctx, layout(), block(weights), Tensor::of(tokens.data(), {1, B, T}),
                 Tensor::of(result.data(), {1, B, T, V}));
    return result;
  }
};

// Whether the logits at position t of sequence 0 differ.
std::vector<bool> changed(const Model& model, const Vector& a, const Vector& b) {
  std::vector<bool> result;
  for (std::int64_t t = 0; t < model.T; ++t) {
    result.push_back(std::memcmp(&a[at(t * model.V)], &b[at(t * model.V)], at(model.V) * sizeof(double)) != 0);
  }
  return result;
}

}  // namespace

TEST_CASE("decoder: gradients of every weight are those of finite differences", "[decoder]") {
  const std::uint64_t seed = 71;
  CAPTURE(seed);
  test::Random random(seed);
  for (const auto& [ffn, tied] : {std::pair{std::int64_t{20}, true}, std::pair{std::int64_t{0}, false}}) {
    const Model model("swa:3/sink full/nope", shape_of(ffn, tied), Head::decoder, random);
    Ints tokens = random.integers(model.B * model.T, 0, 10), targets = random.integers(model.B * model.T, -3, 10);
    for (auto& target : targets) target = std::max(target, -1);
    const Tensor x = Tensor::of(tokens.data(), {1, model.B, model.T}),
                 y = Tensor::of(targets.data(), {1, model.B, model.T});
    const double scale = 0.3;
    Context ctx;
    Vector loss(tokens.size(), NAN), grads(model.weights.size());
    model.proxy.loss_and_gradients(ctx, model.layout(), model.block(model.weights), x, y, scale,
                                   Tensor::of(loss.data(), {1, model.B, model.T}), model.block(grads));
    // By evaluate(), which goes another way through the decoder.
    const auto total = [&](const Vector& weights) {
      Vector each(tokens.size(), NAN);
      Ints predicted(tokens.size());
      model.proxy.evaluate(ctx, model.layout(), model.block(weights), x, y,
                           Tensor::of(each.data(), {1, model.B, model.T}),
                           Tensor::of(predicted.data(), {1, model.B, model.T}));
      double sum = 0;
      for (double l : each) sum += l;
      return scale * sum;
    };
    double sum = 0;
    for (double l : loss) sum += scale * l;
    CHECK(std::abs(total(model.weights) - sum) < 1e-12 * sum);
    for (const auto& weight : model.proxy.parameters().stored()) {
      INFO(weight.name << ", ffn " << ffn);
      Vector direction(grads.size());
      const Vector values = random.normal(weight.size());
      std::copy(values.begin(), values.end(), direction.begin() + weight.offset);
      // A step of 1e-5 in all of a weight's elements: 1e-10 times a third derivative of up to thousands.
      CHECK(test::difference_error(total, model.weights, grads, direction) < 1e-6);
      CHECK(std::any_of(grads.begin() + weight.offset, grads.begin() + weight.offset + weight.size(),
                        [](double g) { return g != 0; }) == (weight.sink_layer != 1));
    }
  }
}

TEST_CASE("decoder: a token reaches the predictions through the last hidden state or not at all", "[decoder]") {
  // In one layer the last position sees its window alone: a token before it changes nothing anywhere, bit for bit; a
  // token inside changes what is predicted at every position. Without the decoder, position t answers to token t.
  const std::uint64_t seed = 72;
  CAPTURE(seed);
  test::Random random(seed);
  const model::Shape shape = shape_of(20, true);
  const Model decoder("swa:3", shape, Head::decoder, random), plain("swa:3", shape, Head::next_token, random);
  const Ints tokens = random.integers(decoder.B * decoder.T, 0, 10);
  const Vector logits = decoder.logits(tokens), plain_logits = plain.logits(tokens);
  for (std::int64_t t = 0; t < decoder.T; ++t) {
    INFO("token " << t << " changed");
    Ints other = tokens;
    other[at(t)] = (other[at(t)] + 1) % 11;
    const bool seen = t >= decoder.T - 3;
    CHECK(changed(decoder, logits, decoder.logits(other)) == std::vector<bool>(at(decoder.T), seen));
    CHECK(changed(plain, plain_logits, plain.logits(other))[at(t)]);
  }
  // The same hidden state answers differently at different positions.
  for (std::int64_t t = 1; t < decoder.T; ++t) {
    CHECK(std::memcmp(&logits[0], &logits[at(t * decoder.V)], at(decoder.V) * sizeof(double)) != 0);
  }
}

TEST_CASE("decoder: mad_compression has one and no other task has", "[decoder]") {
  for (const model::TaskType& type : model::task_types()) {
    INFO(type.name);
    const bool decodes = std::string(type.name) == "mad_compression";
    CHECK((model::head_of({.name = type.name, .values = {}}) == Head::decoder) == decodes);
  }
}

TEST_CASE("decoder: adds weights of its own and leaves the others as they start without it", "[decoder]") {
  const std::int64_t ffn = GENERATE(0, 24);
  const Design design = Design::make("swa:4/sink full", shape_of(ffn, false));
  const Proxy plain(design), decoder(design, DType::f32, {}, Head::decoder);
  CHECK(plain.head() == Head::next_token);
  CHECK(decoder.head() == Head::decoder);
  const auto starts = [&](const Proxy& proxy) {
    std::vector<float> block(at(proxy.parameters().size()), NAN);
    model::initialise(proxy.parameters(), {}, proxy.depth(), Tensor::of(block.data(), {1, proxy.parameters().size()}));
    return block;
  };
  const auto a = starts(plain), b = starts(decoder);
  const auto &few = plain.parameters().stored(), &more = decoder.parameters().stored();
  REQUIRE(more.size() == few.size() + 4);
  for (std::size_t k = 0; k < few.size(); ++k) {
    INFO(few[k].name);
    CHECK(more[k].name == few[k].name);
    REQUIRE(more[k].dims == few[k].dims);
    CHECK(std::equal(a.begin() + few[k].offset, a.begin() + few[k].offset + few[k].size(), b.begin() + more[k].offset));
  }
  const std::int64_t width = ffn > 0 ? ffn : 48;
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> own{
      {"decoder.mlp.gate_proj.weight", {width, 16}},
      {"decoder.mlp.up_proj.weight", {width, 16}},
      {"decoder.mlp.down_proj.weight", {16, width}},
      {"decoder.norm.weight", {16}}};
  for (std::size_t k = 0; k < own.size(); ++k) {
    CHECK(more[few.size() + k].name == own[k].first);
    CHECK(more[few.size() + k].dims == own[k].second);
  }
}

TEST_CASE("decoder: a model at another context keeps its head", "[decoder]") {
  const Design design = Design::make("full", shape_of(20, true));
  const Proxy trained(design, DType::f32, {}, Head::decoder), plain(design);
  model::ProxyAt proxies(trained, design, DType::f32, {}), plains(plain, design, DType::f32, {});
  CHECK(proxies.at(7).head() == Head::decoder);
  CHECK(proxies.at(19).head() == Head::decoder);
  CHECK(proxies.at(19).parameters().size() == trained.parameters().size());
  CHECK(plains.at(19).head() == Head::next_token);
}

TEST_CASE("decoder: a cohort learns compression where the last position sees the tokens, and only there",
          "[decoder][cohort]") {
  // 7 of 15 tokens, uniform: ln 15 = 2.71 without knowledge. Who knows which tokens there were but not their order has
  // at best ln 7 - E[ln(1 + Binomial(6, 1/15))] = 1.69, and is right at 0.27. With windows of 1 the last state holds no
  // other token.
  model::Cohort cohort({compression("full*2", 1, 600), compression("swa:1 swa:1", 1, 600)}, {.threads = 2});
  CHECK(cohort.train_to(600).empty());
  const auto evaluations = cohort.evaluate();
  CHECK(metric(evaluations[0], "loss") < 1.6);
  CHECK(metric(evaluations[0], "accuracy") > 0.33);
  CHECK(metric(evaluations[1], "loss") > 2.65);

  // A probe of the stored trial has the decoder too; one that cuts the receptive field to the last token finds nothing.
  const TempDir dir;
  cohort.save(0, dir / "trial");
  const model::TrialSpec spec = compression("full*2", 1, 600);
  model::Prober prober(spec, spec.recipe.eval.sequences, {.threads = 2});
  prober.load(dir / "trial");
  const auto probed =
      prober.evaluate(std::vector{model::intact(spec.design), model::cut_full_layers(spec.design, 1, 0)});
  CHECK(metric({.points = probed[0]}, "loss") == Approx(metric(evaluations[0], "loss")).epsilon(1e-5));  // rounding
  CHECK(metric({.points = probed[1]}, "loss") > 2.65);
}

TEST_CASE("decoder: compression of seven tokens is learned almost whole", "[decoder][cohort][slow]") {
  model::TrialSpec spec = compression("full*2", 1, 4000);
  spec.recipe.learning_rate = 8e-3;
  model::Cohort cohort({spec}, {.threads = 1});
  CHECK(cohort.train_to(4000).empty());
  const auto evaluations = cohort.evaluate();
  CHECK(metric(evaluations[0], "accuracy") > 0.9);
}

TEST_CASE("decoder: a trial goes on from a checkpoint bit for bit, whatever its neighbours", "[decoder][cohort]") {
  const TempDir dir;
  const auto specs = std::vector{compression("full*2", 1, 12), compression("swa:3 full/nope", 2, 12)};
  model::Cohort whole(specs, {.threads = 2});
  CHECK(whole.train_to(5).empty());
  whole.save(1, dir / "trial");
  CHECK(whole.train_to(12).empty());
  model::Cohort alone({specs[1]}, {.threads = 1});
  alone.load(0, dir / "trial");
  CHECK(alone.train_to(12).empty());
  const model::Checkpoint state = state_of(alone, 0);
  CHECK(same_bits(state, state_of(whole, 1)));
  CHECK(same_points(alone.evaluate()[0], whole.evaluate()[1]));
  CHECK(std::any_of(state.tensors.begin(), state.tensors.end(),
                    [](const auto& tensor) { return tensor.name == "decoder.mlp.down_proj.weight"; }));
}

}  // namespace hylas::tests
