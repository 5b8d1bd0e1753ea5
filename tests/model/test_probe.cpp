// Probes of mechanism on the CPU: the choice of queries, head scores against an oracle and against a model built by
// hand, that they disturb no evaluation and no neighbour, cuts, heads switched off, and random draws.
#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "model/data/tasks/recall.hpp"
#include "model/eval/eval_suite.hpp"
#include "model/init.hpp"
#include "model/probe/prober.hpp"
#include "tests/catch.hpp"
#include "tests/model/test_cohort_common.hpp"
#include "tests/model/test_probe_oracle.hpp"

namespace hylas::tests {
namespace {

using kernels::Tensor;
using model::Cohort;
using model::EvalSet;
using model::HeadChunks;
using model::HeadProbe;
using model::HeadQueries;
using model::HeadScore;
using model::HeadSum;
using model::Prober;
using model::TrialSpec;

// The scores of one trial's weights, all sequences of the queries in chunks.
std::vector<HeadScore> scores_of(const model::Proxy& proxy, const model::Layout& layout, std::vector<float>& weights,
                                 const EvalSet& set, const HeadProbe& probe, std::int64_t chunk) {
  kernels::Context ctx;
  const HeadChunks chunks(probe.queries(), chunk);
  std::vector<double> sums(static_cast<std::size_t>(probe.heads() * HeadSum::count));
  const model::Layout* one = &layout;
  const model::LayoutData data({&one, 1}, set.context);
  const Tensor block = Tensor::of(weights.data(), {1, proxy.parameters().size()});
  for (std::int64_t c = 0; c < chunks.chunks(); ++c) {
    const std::int64_t first = c * chunk * set.context;
    const std::int64_t count = std::min(chunk, probe.queries().sequences - c * chunk);
    probe.run(ctx, proxy, data, block, Tensor::of(set.tokens.data() + first, {1, count, set.context}),
              Tensor::of(set.targets.data() + first, {1, count, set.context}), chunks.queries_on_cpu(c),
              Tensor::of(sums.data(), {1, probe.heads(), HeadSum::count}));
  }
  return probe.scores(sums);
}

// A trial that was trained for a few steps, in a file.
struct Trained {
  TrialSpec spec;
  TempDir dir;
  std::filesystem::path file;

  explicit Trained(TrialSpec trial) : spec(std::move(trial)), file(dir / "trial") {
    Cohort cohort({spec}, {.threads = 1});
    CHECK(cohort.train_to(12).empty());
    cohort.save(0, file);
  }
  [[nodiscard]] Prober prober(std::int64_t sequences = 6) const {
    Prober probe(spec, sequences, {.threads = 2});
    probe.load(file);
    return probe;
  }
};

void check_same(const std::vector<model::Point>& a, const std::vector<model::Point>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO(a[i].metric);
    CHECK(a[i].metric == b[i].metric);
    CHECK(a[i].value == b[i].value);
  }
}

}  // namespace

TEST_CASE("probe: queries are scored positions, evenly chosen, and their answers hold what is asked for", "[probe]") {
  const model::RecallStream stream({8, 8, 0.9}, 128);
  const EvalSet set(stream, 9, "");
  const HeadQueries queries(set, 7);
  REQUIRE(queries.size() > 7 * 20);
  CHECK(std::is_sorted(queries.query.begin(), queries.query.end()));
  std::vector<int> of_sequence(9);
  for (std::int64_t i = 0; i < queries.size(); ++i) {
    const std::int32_t at = queries.query[static_cast<std::size_t>(i)];
    const std::int32_t answer = queries.answer[static_cast<std::size_t>(i)];
    ++of_sequence[static_cast<std::size_t>(at / 128)];
    CHECK(std::binary_search(set.scored.begin(), set.scored.end(), at));
    CHECK(set.tokens[static_cast<std::size_t>(at / 128 * 128 + answer)] == set.targets[static_cast<std::size_t>(at)]);
    CHECK((answer >= 1 && answer <= at % 128));
    CHECK(queries.far(i) == (at % 128 + 1 - answer > 64));
  }
  for (std::size_t s = 0; s < 9; ++s) {  // at p = 0.9 every sequence asks more often than it may
    CHECK(of_sequence[s] == (s < 7 ? model::kQueriesASequence : 0));
    CHECK(queries.first_of(static_cast<std::int64_t>(s)) ==
          std::min<std::int64_t>(static_cast<std::int64_t>(s), 7) * model::kQueriesASequence);
  }
  // The first and the last part of a sequence are asked alike: no choice of the earliest ones.
  CHECK(queries.query[model::kQueriesASequence - 1] > 100);
}

TEST_CASE("probe: head scores are what plain loops in double say", "[probe]") {
  for (const char* layout : {"swa:4 full/nope", "full swa:9/sink", "swa:1 full/sink"}) {
    for (const std::int64_t ffn : {std::int64_t{0}, std::int64_t{24}}) {
      TrialSpec spec = trial(layout, 5, 1e-3);
      spec.design.shape.ffn = ffn;
      spec.recipe.embed_std = 1.5;
      const model::Proxy proxy(spec.design);
      std::vector<float> weights(static_cast<std::size_t>(proxy.parameters().size()));
      model::initialise(proxy.parameters(), spec.recipe, 2, Tensor::of(weights.data(), {1, std::ssize(weights)}));
      std::mt19937 random(17);
      for (float& w : weights) w *= 2 + static_cast<float>(random() % 100) / 100;  // attention that is not flat
      for (const auto& one : proxy.parameters().stored()) {
        if (one.sink_layer >= 0) std::fill_n(weights.begin() + one.offset, one.size(), 0.7F);
      }
      const EvalSet set(*model::make_task(spec.recipe.task, 32), 12, "");
      const HeadProbe probe(spec.design.layout, spec.design.shape, {set, 11});
      const auto scores = scores_of(proxy, spec.design.layout, weights, set, probe, 2);
      const auto want = OracleModel(proxy, spec.design.layout, weights.data()).scores(set, probe.queries());
      REQUIRE(scores.size() == 4);
      for (std::size_t h = 0; h < 4; ++h) {
        CAPTURE(layout, ffn, h);
        // fp32 through two layers against double: 1e-6 is typical.
        CHECK(scores[h].answer == Approx(want[h].answer).margin(2e-5));
        CHECK(scores[h].answer_far == Approx(want[h].answer_far).margin(2e-5));
        CHECK(scores[h].previous == Approx(want[h].previous).margin(2e-5));
        CHECK(scores[h].entropy == Approx(want[h].entropy).margin(2e-5));
        const double unclear = want[h].unclear / static_cast<double>(probe.queries().size());
        CHECK(std::abs(scores[h].copy - want[h].copy) <= unclear + 1e-12);
        CHECK(unclear < 0.4);  // without position encoding copies of a token are nearly alike
      }
    }
  }
}

// Head 0 attends to tokens equal to the query's (one-hot embeddings, W_q = W_k = 3 I, no position encoding), and its
// output names them; head 1 has W_q = 0 and attends to all alike. A token occurs twice, at the answer and at the query:
// half of head 0's weight is the answer's.
TEST_CASE("probe: in a model built by hand the scores are the ones it was built for", "[probe]") {
  const model::Shape shape{.d_model = 16,
                           .heads = 2,
                           .kv_heads = 2,
                           .head_dim = 16,
                           .ffn = 0,
                           .vocab = 16,
                           .context = 12,
                           .tied = true,
                           .rope_theta = 10000.0};
  const model::Design design = model::Design::make("full/nope", shape);
  const model::Proxy proxy(design);
  std::vector<float> weights(static_cast<std::size_t>(proxy.parameters().size()));
  const auto set_identity = [&](const std::string& name, float value) {  // its first 16 rows and columns
    for (const auto& one : proxy.parameters().stored()) {
      if (one.name != name) continue;
      for (std::int64_t i = 0; i < 16; ++i)
        weights[static_cast<std::size_t>(one.offset + i * one.dims.back() + i)] = value;
    }
  };
  set_identity("model.embed_tokens.weight", 1);
  for (const char* matrix : {"q_proj", "k_proj"}) {
    set_identity("model.layers.0.self_attn." + std::string(matrix) + ".weight", 3);
  }
  for (const char* matrix : {"v_proj", "o_proj"}) {
    set_identity("model.layers.0.self_attn." + std::string(matrix) + ".weight", 1);
  }
  for (const auto& one : proxy.parameters().stored()) {
    if (one.dims.size() == 1 && one.sink_layer < 0) std::fill_n(weights.begin() + one.offset, one.size(), 1.0F);
  }
  EvalSet set;
  set.context = 12, set.sequences = 2;
  // Sequence 0: token 5 at 3 and 11; sequence 1: token 9 at 8 and 10. What is to be predicted is the token itself.
  set.tokens = {0, 1, 2, 5, 3, 4, 6, 7, 8, 9, 10, 5, 0, 1, 2, 3, 4, 5, 6, 7, 9, 8, 9, 10};
  set.targets.assign(24, -1);
  set.targets[11] = 5, set.targets[22] = 9;
  set.scored = {11, 22};
  set.distance = {9, 3};  // answers at 3 and 8
  const HeadProbe probe(design.layout, shape, {set, 2});
  const auto scores = scores_of(proxy, design.layout, weights, set, probe, 1);
  REQUIRE(scores.size() == 2);
  CHECK(scores[0].answer == Approx(0.5).epsilon(1e-5));  // others have exp(-36) of it
  CHECK(scores[0].answer_far == Approx(0.5).epsilon(1e-5));
  CHECK(scores[0].copy == 1);
  CHECK(scores[0].previous == Approx(0).margin(1e-6));
  CHECK(scores[0].entropy == Approx(std::log(2.0) * (1 / std::log(12.0) + 1 / std::log(11.0)) / 2).epsilon(1e-5));
  CHECK(scores[1].answer == Approx((1 / 12.0 + 1 / 11.0) / 2).epsilon(1e-5));
  CHECK(scores[1].answer_far == Approx(1 / 12.0).epsilon(1e-5));
  CHECK(scores[1].copy == 0);  // the lowest of equals is position 0
  CHECK(scores[1].previous == Approx((1 / 4.0 + 1 / 9.0) / 2).epsilon(1e-5));
  CHECK(scores[1].entropy == Approx(1).epsilon(1e-5));
  const auto points = probe.points(std::vector<double>(12, 1.0));
  REQUIRE(points.size() == 10);
  CHECK(points[0].metric == "head/0.0/answer");
  CHECK(points[1].metric == "head/0.0/answer_far");
  CHECK(points[1].count == 1);
  CHECK(points[9].metric == "head/0.1/entropy");
  CHECK(points[9].count == 2);
}

TEST_CASE("probe: scores come behind an evaluation, disturb nothing, and depend on no neighbour or thread", "[probe]") {
  std::vector<TrialSpec> specs = five_trials(), plain = specs;
  for (TrialSpec& spec : specs) spec.recipe.eval.probe_sequences = 11;
  const auto evaluated = [](const std::vector<TrialSpec>& trials, int threads) {
    Cohort cohort(trials, {.threads = threads});
    CHECK(cohort.train_to(9).empty());
    return cohort.evaluate();
  };
  const auto with = evaluated(specs, 3), without = evaluated(plain, 2);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    CHECK(same_points(with[i], evaluated({specs[i]}, 1)[0]));
    auto rest = with[i];
    std::erase_if(rest.points, [](const model::Point& p) { return p.metric.starts_with("head/"); });
    CHECK(same_points(rest, without[i]));
    CHECK(with[i].points.size() == rest.points.size() + 4 * 2 * 5);  // 4 layers of 2 heads
  }
}

TEST_CASE("probe: a checkpoint's scores are those that the sweep stored", "[probe]") {
  TrialSpec spec = trial("swa:4 full/nope swa:4 full", 3, 4e-3);
  spec.recipe.eval.probe_sequences = 10;
  const TempDir dir;
  Cohort cohort({spec}, {.threads = 2});
  CHECK(cohort.train_to(10).empty());
  cohort.save(0, dir / "trial");
  const auto points = cohort.evaluate().at(0).points;
  Prober prober(spec, 10, {.threads = 1});
  prober.load(dir / "trial");
  CHECK(prober.step() == 10);
  const auto scores = prober.scores();
  REQUIRE(scores.size() == 8);
  for (const auto& want :
       model::head_points({0, 1, 2, 3}, 2, scores, prober.heads().queries().size(), prober.heads().far_queries())) {
    const auto found =
        std::find_if(points.begin(), points.end(), [&](const auto& p) { return p.metric == want.metric; });
    REQUIRE(found != points.end());
    CHECK(found->value == want.value);
    CHECK(found->count == want.count);
  }
}

TEST_CASE("probe: of real text heads are scored on its needles", "[probe]") {
  const TempDir dir;
  std::mt19937 random(3);
  std::string text(6000, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 20);
  TrialSpec spec = trial("swa:4 full", 2, 4e-3);
  spec.design.shape.context = 112, spec.design.shape.vocab = 256;
  spec.design = model::Design::make("swa:4 full", spec.design.shape);
  spec.recipe.task =
      model::completed(model::task_spec("text", {{"corpus", dir.write("text.txt", text).string()}, {"needles", 0.5}}));
  spec.recipe.batch = 2, spec.recipe.eval.sequences = 3, spec.recipe.eval.probe_sequences = 3;
  spec.recipe.capability.metric = "accuracy";
  const Trained trained(spec);
  Cohort cohort({spec}, {.threads = 2});
  cohort.load(0, trained.file);
  const auto points = cohort.evaluate().at(0).points;
  Prober prober = trained.prober(3);
  const auto& queries = prober.heads().queries();
  CHECK(queries.sequences == 3);
  CHECK(queries.size() == 12);  // four digits a needle
  const auto want = model::head_points({0, 1}, 2, prober.scores(), queries.size(), prober.heads().far_queries());
  for (const auto& point : want) {
    const auto found =
        std::find_if(points.begin(), points.end(), [&](const auto& p) { return p.metric == point.metric; });
    REQUIRE(found != points.end());
    CHECK(found->value == point.value);
  }
  const auto found = prober.evaluate(std::vector{model::intact(spec.design)})[0];
  for (const char* metric : {"loss", "needle/accuracy"}) {
    CHECK(std::any_of(found.begin(), found.end(), [&](const auto& p) { return p.metric == metric; }));
  }
}

TEST_CASE("probe: a cut as wide as the context changes no bit, a narrow one does, and swa layers are cut apart",
          "[probe]") {
  const Trained trained(trial("swa:6 full/nope swa:4 full", 2, 4e-3));
  const model::Design& design = trained.spec.design;
  Prober prober = trained.prober();
  const auto points = prober.evaluate(std::vector{
      model::intact(design), model::cut_full_layers(design, 32, 4), model::cut_full_layers(design, 99, 0),
      model::cut_full_layers(design, 3, 1), model::cut_window_layers(design, 6), model::cut_window_layers(design, 5)});
  check_same(points[1], points[0]);
  check_same(points[2], points[0]);
  CHECK(points[3][0].value != points[0][0].value);
  check_same(points[4], points[0]);
  CHECK(points[5][0].value != points[0][0].value);
  CHECK(model::cut_window_layers(design, 5).layout.layers[2].window == 4);
  // The same, evaluated as a model of that layout would be: the first keys are what the cut adds.
  const model::Intervention cut = model::cut_full_layers(design, 3, 0);
  CHECK(model::canonical_text(cut.layout) == "swa:6 swa:3/nope swa:4 swa:3");
}

TEST_CASE("probe: an intact evaluation is the suite's up to rounding", "[probe]") {
  const Trained trained(trial("swa:6 full/nope swa:4 full/sink", 2, 4e-3));
  Cohort cohort({trained.spec}, {.threads = 1});
  cohort.load(0, trained.file);
  const auto want = cohort.evaluate().at(0).points;
  const auto found =
      trained.prober(trained.spec.recipe.eval.sequences).evaluate(std::vector{model::intact(trained.spec.design)});
  for (std::size_t i = 0; i < found[0].size(); ++i) {
    CHECK(found[0][i].metric == want[i].metric);
    CHECK(found[0][i].count == want[i].count);
    if (found[0][i].metric == "loss") CHECK(found[0][i].value == Approx(want[i].value).epsilon(1e-5));
  }
}

TEST_CASE("probe: a layer without its heads is a layer whose output projection is zero", "[probe]") {
  const Trained trained(trial("swa:4 full/nope", 2, 4e-3));
  Prober prober = trained.prober();
  const auto off = prober.evaluate(
      std::vector{model::without_heads(trained.spec.design, std::vector{2, 3}), model::intact(trained.spec.design)});
  model::Checkpoint checkpoint = model::load_checkpoint(trained.file);
  for (model::StoredTensor& tensor : checkpoint.tensors) {
    if (tensor.name == "model.layers.1.self_attn.o_proj.weight")
      std::fill(tensor.data.begin(), tensor.data.end(), 0.0F);
  }
  model::save_checkpoint(trained.dir / "zero", checkpoint.tensors, checkpoint.metadata);
  prober.load(trained.dir / "zero");
  check_same(off[0], prober.evaluate(std::vector{model::intact(trained.spec.design)})[0]);
  CHECK(off[0][0].value != off[1][0].value);
}

TEST_CASE("probe: distances of W_q and W_k are relative to the later checkpoint", "[probe]") {
  const Trained trained(trial("swa:4 full/nope", 2, 4e-3));
  Prober prober = trained.prober();
  const auto last = prober.query_key_weights();
  REQUIRE(last.size() == 4);
  auto first = last;
  for (float& w : first[1]) w *= 0.75F;  // W_k of layer 0
  const auto apart = prober.distances(first, last);
  REQUIRE(apart.size() == 2);
  CHECK(apart[0].q == 0);
  CHECK(apart[0].k == Approx(0.25).epsilon(1e-6));
  CHECK(apart[1].q == 0);
  CHECK(last[0].size() == 16 * 16);  // two heads of 8
  CHECK(last[1].size() == 8 * 16);
}

TEST_CASE("probe: top heads and random draws", "[probe]") {
  const std::vector<double> scores = {0.1, 0.5, NAN, 0.5, 0.9};
  CHECK(model::top_heads(scores, 3) == std::vector<int>{4, 1, 3});
  CHECK(model::top_heads(scores, 9) == std::vector<int>{4, 1, 3, 0, 2});
  const std::vector<int> excluded = {1, 4};
  const auto draws = model::random_heads(8, 3, 200, 1, excluded);
  CHECK(draws == model::random_heads(8, 3, 200, 1, excluded));
  CHECK(draws != model::random_heads(8, 3, 200, 2, excluded));
  std::vector<int> times(8);
  for (const auto& draw : draws) {
    CHECK(std::set<int>(draw.begin(), draw.end()).size() == 3);
    for (const int head : draw) ++times[static_cast<std::size_t>(head)];
  }
  for (int head = 0; head < 8; ++head) {
    // 100 expected of 200; five standard deviations of a binomial are 35.
    CHECK((head == 1 || head == 4 ? times[static_cast<std::size_t>(head)] == 0
                                  : std::abs(times[static_cast<std::size_t>(head)] - 100) < 36));
  }
  CHECK(model::random_heads(8, 7, 5, 1, excluded).empty());
  CHECK(model::random_heads(8, 6, 5, 1, excluded).size() == 5);
}

}  // namespace hylas::tests
