// The proxy against PyTorch in fp64 (golden files of make_golden.py): logits, loss, the gradient of every parameter,
// ten training losses with clip, schedule and decay, and the weights after them. In fp64 and in fp32.
//
// Tolerances: norm of the difference over the norm, per tensor. fp64: 1e-10, rounding of sums of a few hundred terms
// through a few layers is 1e-14 and leaves room for nothing but rounding. fp32: 1e-5, as the project promises; typical
// is 3e-7. Weights after ten AdamW steps in fp32: 1e-4, since Adam turns the relative error of a near-zero gradient
// into a step.
#include <cmath>
#include <span>

#include "model/optimizer.hpp"
#include "model/proxy.hpp"
#include "tests/catch.hpp"
#include "tests/model/test_proxy_golden_file.hpp"

namespace hylas::tests {
namespace {

using kernels::Context;
using kernels::DType;
using kernels::Tensor;

double difference(std::span<const double> got, std::span<const double> want) {
  REQUIRE(got.size() == want.size());
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / norm);
}

// One golden model with our proxy beside it, P = 1, computing in T.
template <class T>
class Case {
 public:
  explicit Case(const std::string& name) : file_(read_golden(name)), design_(design_of(file_.config)) {
    const model::Layout* layout = &design_.layout;
    layout_.emplace(std::span(&layout, 1), design_.shape.context);
    for (auto* block : {&weights_, &grads_, &m_, &v_}) block->assign(static_cast<std::size_t>(table().size()), T(0));
    // The file's tensors are exactly the stored weights of the table, sinks only where the layer has one.
    std::size_t used = 0;
    for (const auto& weight : table().stored()) {
      if (!present(weight)) continue;
      const auto& golden = file_.tensors.at(weight.name);
      REQUIRE(golden.dims == weight.dims);
      std::copy(golden.values.begin(), golden.values.end(), weights_.begin() + weight.offset);
      ++used;
    }
    REQUIRE(used * 3 + 6 == file_.tensors.size());
  }

  void check_logits(double tolerance) {
    const std::int64_t V = design_.shape.vocab;
    std::vector<T> logits(static_cast<std::size_t>(batch() * context() * V), T(NAN));
    const std::vector<std::int32_t> tokens = integers("tokens", 0);
    proxy_.logits(ctx_, *layout_, block(weights_), ids(tokens), Tensor::of(logits.data(), {1, batch(), context(), V}));
    CHECK(difference(std::vector<double>(logits.begin(), logits.end()), file_.at("logits")) <= tolerance);
  }

  void check_gradients(double tolerance) {
    const double loss = gradients(0);
    CHECK(std::abs(loss / file_.at("loss")[0] - 1) <= tolerance);
    for (const auto& weight : table().stored()) {
      INFO(weight.name);
      const auto first = grads_.begin() + weight.offset;
      const std::vector<double> got(first, first + weight.size());
      if (present(weight)) {
        CHECK(difference(got, file_.at("grad." + weight.name)) <= tolerance);
      } else {
        for (double g : got) CHECK(g == 0.0);  // a sink that is off gets no gradient
      }
    }
  }

  void check_evaluation(double tolerance) {
    const std::vector<std::int32_t> tokens = integers("tokens", 0), targets = integers("targets", 0);
    std::vector<T> loss(tokens.size(), T(NAN));
    std::vector<std::int32_t> predicted(tokens.size(), -7);
    proxy_.evaluate(ctx_, *layout_, block(weights_), ids(tokens), ids(targets),
                    Tensor::of(loss.data(), {1, batch(), context()}), ids(predicted));
    const std::int64_t V = design_.shape.vocab;
    double sum = 0, scored = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const double* logits = file_.at("logits").data() + static_cast<std::int64_t>(i) * V;
      const auto best = static_cast<std::int32_t>(std::max_element(logits, logits + V) - logits);
      CHECK(predicted[i] == (targets[i] < 0 ? -1 : best));
      sum += loss[i];
      scored += targets[i] >= 0;
    }
    CHECK(std::abs(sum / scored / file_.at("loss")[0] - 1) <= tolerance);
  }

  void check_training(double tolerance, double weight_tolerance) {
    const model::Recipe recipe = recipe_of(file_.recipe);
    int clipped = 0;
    for (std::int64_t step = 1; step <= recipe.steps; ++step) {
      const double loss = gradients(static_cast<std::size_t>(step - 1));
      const auto at = static_cast<std::size_t>(step - 1);
      INFO("step " << step);
      CHECK(std::abs(loss / file_.at("losses")[at] - 1) <= tolerance);
      const auto plan = model::plan_update(ctx_, recipe, step, block(grads_));
      CHECK(std::abs(plan.grad_norm / file_.at("grad_norms")[at] - 1) <= 10 * tolerance);
      clipped += plan.clip_scale < 1;
      model::apply_update(ctx_, table(), recipe, plan, block(grads_), {block(weights_), block(m_), block(v_)}, 0,
                          table().size());
    }
    CHECK(clipped > 0);
    CHECK(clipped < recipe.steps);
    for (const auto& weight : table().stored()) {
      if (!present(weight)) continue;
      INFO(weight.name);
      const auto first = weights_.begin() + weight.offset;
      CHECK(difference(std::vector<double>(first, first + weight.size()), file_.at("trained." + weight.name)) <=
            weight_tolerance);
    }
  }

 private:
  static model::Design design_of(const nlohmann::json& c) {
    const model::Shape shape{.d_model = c.at("d_model"),
                             .heads = c.at("heads"),
                             .kv_heads = c.at("kv_heads"),
                             .head_dim = c.at("head_dim"),
                             .ffn = c.at("ffn"),
                             .vocab = c.at("vocab"),
                             .context = c.at("context"),
                             .tied = c.at("tied"),
                             .rope_theta = c.at("rope_theta")};
    return model::Design::make(c.at("layout").get<std::string>(), shape);
  }
  static model::Recipe recipe_of(const nlohmann::json& r) {
    model::Recipe recipe;
    recipe.steps = 10;
    recipe.learning_rate = r.at("learning_rate");
    recipe.weight_decay = r.at("weight_decay");
    recipe.clip = r.at("clip");
    recipe.schedule = {.kind = model::ScheduleKind::wsd,
                       .warmup_steps = r.at("warmup_steps"),
                       .decay_fraction = r.at("decay_fraction"),
                       .final_ratio = r.at("final_ratio")};
    return recipe;
  }

  // The mean loss of batch `index`; its gradient goes into grads_.
  double gradients(std::size_t index) {
    const std::vector<std::int32_t> tokens = integers("tokens", index), targets = integers("targets", index);
    std::vector<T> loss(tokens.size(), T(NAN));
    const auto scored = std::count_if(targets.begin(), targets.end(), [](std::int32_t t) { return t >= 0; });
    std::fill(grads_.begin(), grads_.end(), T(0));
    proxy_.loss_and_gradients(ctx_, *layout_, block(weights_), ids(tokens), ids(targets),
                              1.0 / static_cast<double>(scored), Tensor::of(loss.data(), {1, batch(), context()}),
                              block(grads_));
    double sum = 0;
    for (T x : loss) sum += static_cast<double>(x);
    return sum / static_cast<double>(scored);
  }

  // Batch `index` of tokens or targets.
  std::vector<std::int32_t> integers(const std::string& name, std::size_t index) {
    const auto n = static_cast<std::size_t>(batch() * context());
    const double* first = file_.at(name).data() + index * n;
    return {first, first + n};
  }
  Tensor block(std::vector<T>& values) { return Tensor::of(values.data(), {1, table().size()}); }
  template <class V>
  Tensor ids(V& values) {
    return Tensor::of(values.data(), {1, batch(), context()});
  }
  [[nodiscard]] const model::ParameterTable& table() const { return proxy_.parameters(); }
  [[nodiscard]] bool present(const model::StoredWeight& weight) const {
    return weight.sink_layer < 0 || design_.layout.layers[static_cast<std::size_t>(weight.sink_layer)].sink;
  }
  [[nodiscard]] std::int64_t batch() const { return file_.config.at("batch"); }
  [[nodiscard]] std::int64_t context() const { return design_.shape.context; }

  GoldenFile file_;
  model::Design design_;
  model::Proxy proxy_{design_, kernels::dtype_of<T>::value};
  std::optional<model::LayoutData> layout_;
  Context ctx_;
  std::vector<T> weights_, grads_, m_, v_;
};

const char* const kFiles[] = {"proxy_tied.safetensors", "proxy_untied.safetensors", "proxy_no_ffn.safetensors"};

}  // namespace

TEST_CASE("proxy: logits, loss and every gradient equal PyTorch's in fp64", "[proxy][golden]") {
  for (const char* file : kFiles) {
    INFO(file);
    Case<double> c(file);
    c.check_logits(1e-10);
    c.check_gradients(1e-10);
    c.check_evaluation(1e-10);
  }
}

TEST_CASE("proxy: logits, loss and every gradient equal PyTorch's to 1e-5 in fp32", "[proxy][golden]") {
  for (const char* file : kFiles) {
    INFO(file);
    Case<float> c(file);
    c.check_logits(1e-5);
    c.check_gradients(1e-5);
    c.check_evaluation(1e-5);
  }
}

TEST_CASE("proxy: ten AdamW losses with clip, schedule and decay equal PyTorch's", "[proxy][golden]") {
  for (const char* file : kFiles) {
    INFO(file);
    // The trained weights are stored in fp32, hence 1e-7.
    Case<double>(file).check_training(1e-10, 1e-7);
    Case<float>(file).check_training(1e-5, 1e-4);
  }
}

}  // namespace hylas::tests
