// embed, linear_cross_entropy and adamw against the oracle and finite differences.
#include <array>

#include "kernels/adamw.hpp"
#include "kernels/embed.hpp"
#include "kernels/linear_cross_entropy.hpp"
#include "tests/kernels/support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

TEMPLATE_TEST_CASE("embed looks up rows and adds up their gradients", "[embed]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 31;
  CAPTURE(seed);
  Random random(seed);
  Context ctx = context(GENERATE(false, true));
  for (const auto& [b, t, v, d] :
       std::vector<std::array<std::int64_t, 4>>{{1, 1, 1, 1}, {2, 7, 5, 3}, {3, 65, 37, 33}}) {
    const Trials tables = random.trials(3, v * d), dxs = random.trials(3, b * t * d), befores = random.trials(3, v * d);
    std::vector<Ints> ids;
    for (int p = 0; p < 3; ++p) ids.push_back(random.integers(b * t, 0, static_cast<int>(v) - 1));
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const Memory<T> table({p, v, d}, gap, tables, first), dx({p, b, t, d}, gap, dxs, first), x({p, b, t, d}, gap);
      const Memory<T> dtable({p, v, d}, gap, befores, first);
      const Memory<std::int32_t> tokens({p, b, t}, gap, ids, first);
      embed_forward(ctx, table, tokens, x);
      embed_backward(ctx, dx, tokens, dtable);
      x.check_fences();
      dtable.check_fences();
      return std::array{x.all(), dtable.all()};
    };
    const auto all = run(0, 3, 3);
    for (std::size_t p = 0; p < 3; ++p) {
      CHECK(error(all[0][p], oracle::embed(tables[p], ids[p], d)) == 0);
      Vector expected = oracle::embed_backward(dxs[p], ids[p], d, v);
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += befores[p][i];
      CHECK(error(all[1][p], expected) < tolerance<T>);
      const auto alone = run(p, 1, 1);
      for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
    }
  }
}

namespace {

struct HeadCase {
  std::int64_t b, t, d, v;
  int unscored;  // targets are drawn from -unscored .. v - 1
};

}  // namespace

TEMPLATE_TEST_CASE("linear_cross_entropy agrees with the oracle, scored or not", "[cross_entropy]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 32;
  CAPTURE(seed);
  Random random(seed);
  Context ctx = context(GENERATE(false, true));
  // a vocabulary of one, one not a multiple of anything, chunks of 16 rows, chunks of 256; all, some and no rows scored
  for (const auto& [b, t, d, v, unscored] : std::vector<HeadCase>{
           {1, 1, 1, 1, 0}, {2, 7, 5, 3, 3}, {1, 65, 33, 101, 0}, {1, 37, 8, 5003, 2000}, {3, 171, 32, 33, 20}}) {
    CAPTURE(b, t, d, v);
    const Trials hs = random.trials(3, b * t * d), heads = random.trials(3, v * d), before = random.trials(3, v * d);
    std::vector<Ints> ids;
    for (int p = 0; p < 3; ++p) ids.push_back(random.integers(b * t, -unscored, static_cast<int>(v) - 1));
    if (unscored > 0) ids[1].assign(ids[1].size(), -1);
    const double scale = 0.125;
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const Memory<T> h({p, b, t, d}, gap, hs, first), head({p, v, d}, gap, heads, first);
      const Memory<std::int32_t> targets({p, b, t}, gap, ids, first), predicted({p, b, t}, gap);
      const Memory<T> loss({p, b, t}, gap), eval_loss({p, b, t}, gap), dh({p, b, t, d}, gap);
      const Memory<T> dhead({p, v, d}, gap, before, first);
      linear_cross_entropy_train(ctx, h, head, targets, scale, loss, dh, dhead);
      linear_cross_entropy_eval(ctx, h, head, targets, eval_loss, predicted);
      for (const auto* m : {&loss, &eval_loss, &dh, &dhead}) m->check_fences();
      predicted.check_fences();
      CHECK(same_bits(loss.values(0), eval_loss.values(0)));
      return std::pair(std::array{loss.all(), dh.all(), dhead.all()}, predicted.all());
    };
    const auto [all, predicted] = run(0, 3, 3);
    for (std::size_t p = 0; p < 3; ++p) {
      auto expected = oracle::linear_cross_entropy(hs[p], heads[p], ids[p], d, v, scale);
      for (std::size_t i = 0; i < before[p].size(); ++i) expected.dhead[i] += before[p][i];
      CHECK(error(all[0][p], expected.loss) < tolerance<T>);
      CHECK(error(all[1][p], expected.dh) < tolerance<T>);
      CHECK(error(all[2][p], expected.dhead) < tolerance<T>);
      CHECK(predicted[p] == expected.predicted);
      const auto [alone, alone_predicted] = run(p, 1, 1);
      for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
      CHECK(alone_predicted[0] == predicted[p]);
    }
  }
}

TEST_CASE("how many targets a sequence has at most changes no bit on the CPU", "[cross_entropy]") {
  const std::uint64_t seed = 36;
  CAPTURE(seed);
  Random random(seed);
  Context ctx;
  const std::int64_t b = 3, t = 17, d = 5, v = 23, most = 2;
  const Trials h0 = random.trials(2, b * t * d), head0 = random.trials(2, v * d);
  std::vector<Ints> ids(2, Ints(at(b * t), -1));
  for (Ints& target : ids) {
    for (std::int64_t s = 0; s < b; ++s) {
      for (const auto i : random.integers(most, 0, static_cast<int>(t) - 1)) {
        target[at(s * t + i)] = random.integers(1, 0, static_cast<int>(v) - 1)[0];
      }
    }
  }
  const auto run = [&](std::int64_t told) {
    const Memory<float> h({2, b, t, d}, 2, h0, 0), head({2, v, d}, 2, head0, 0), loss({2, b, t}, 2), eval({2, b, t}, 2);
    const Memory<float> dh({2, b, t, d}, 2), dhead({2, v, d}, 2, Trials(2, Vector(at(v * d))), 0);
    const Memory<std::int32_t> targets({2, b, t}, 2, ids, 0), predicted({2, b, t}, 2);
    linear_cross_entropy_train(ctx, h, head, targets, 0.5, loss, dh, dhead, told);
    linear_cross_entropy_eval(ctx, h, head, targets, eval, predicted, told);
    return std::pair(std::array{loss.all(), eval.all(), dh.all(), dhead.all()}, predicted.all());
  };
  CHECK(run(most) == run(0));
}

TEST_CASE("among equal logits the lowest index is predicted", "[cross_entropy]") {
  Context ctx;
  for (std::int64_t v : {1, 5, 40}) {
    const Memory<float> h({1, 1, 1, 1}, 0, Trials{{1}}, 0), head({1, v, 1}, 0, Trials{Vector(at(v), 0.5)}, 0);
    const Memory<float> loss({1, 1, 1}, 0);
    const Memory<std::int32_t> targets({1, 1, 1}, 0, std::vector<Ints>{{0}}, 0), predicted({1, 1, 1}, 0);
    linear_cross_entropy_eval(ctx, h, head, targets, loss, predicted);
    CHECK(predicted.values(0)[0] == 0);
    head.tensor().trial<float>()[v - 1] = 0.75F;
    linear_cross_entropy_eval(ctx, h, head, targets, loss, predicted);
    CHECK(predicted.values(0)[0] == v - 1);
  }
}

TEST_CASE("linear_cross_entropy's gradients are those of finite differences", "[cross_entropy]") {
  Random random(33);
  Context ctx;
  const std::int64_t t = 9, d = 6, v = 19;
  const Vector h0 = random.normal(t * d), head0 = random.normal(v * d);
  const std::vector<Ints> ids = {random.integers(t, -3, static_cast<int>(v) - 1)};
  const Memory<std::int32_t> targets({1, 1, t}, 0, ids, 0), predicted({1, 1, t}, 0);
  const auto loss = [&](const Vector& h, const Vector& head) {
    const Memory<double> mh({1, 1, t, d}, 0, {h}, 0), mhead({1, v, d}, 0, {head}, 0), out({1, 1, t}, 0);
    linear_cross_entropy_eval(ctx, mh, mhead, targets, out, predicted);
    return dot(out.values(0), Vector(at(t), 0.3));
  };
  const Memory<double> h({1, 1, t, d}, 0, {h0}, 0), head({1, v, d}, 0, {head0}, 0), out({1, 1, t}, 0);
  const Memory<double> dh({1, 1, t, d}, 0), dhead({1, v, d}, 0, {Vector(at(v * d))}, 0);
  linear_cross_entropy_train(ctx, h, head, targets, 0.3, out, dh, dhead);
  CHECK(difference_error([&](const Vector& x) { return loss(x, head0); }, h0, dh.values(0), random.normal(t * d)) <
        1e-8);
  CHECK(difference_error([&](const Vector& x) { return loss(h0, x); }, head0, dhead.values(0), random.normal(v * d)) <
        1e-8);
}

TEST_CASE("a loss that is not a number comes out as one", "[cross_entropy]") {
  Context ctx;
  for (double bad : {std::nan(""), HUGE_VAL}) {
    Vector h0(8, 1.0);
    h0[3] = bad;
    const Memory<float> h({1, 1, 1, 8}, 0, {h0}, 0), loss({1, 1, 1}, 0);
    const Memory<float> head({1, 20, 8}, 0, {Random(34).normal(160)}, 0);
    const Memory<std::int32_t> targets({1, 1, 1}, 0, std::vector<Ints>{{5}}, 0), predicted({1, 1, 1}, 0);
    linear_cross_entropy_eval(ctx, h, head, targets, loss, predicted);
    CHECK(!std::isfinite(loss.values(0)[0]));
    CHECK(predicted.values(0)[0] >= 0);
    CHECK(predicted.values(0)[0] < 20);
  }
}

TEMPLATE_TEST_CASE("adamw, grad_norm and add_into agree with the oracle over five steps", "[adamw]", float, double) {
  using T = TestType;
  const std::uint64_t seed = 35;
  CAPTURE(seed);
  Random random(seed);
  Context ctx = context(GENERATE(false, true));
  for (std::int64_t n : {1, 37, 1000}) {
    CAPTURE(n);
    const Trials start = random.trials(3, n);
    std::vector<Trials> gradients;
    for (int i = 0; i < 5; ++i) gradients.push_back(random.trials(3, n));
    const Trials lr = {{0.5}, {0.0}, {0.0009765625}}, decay = {{0.125}, {0.5}, {0.0}}, clip = {{1.0}, {0.25}, {0.5}};
    const AdamW options{0.875, 0.96875, 1e-8, n / 2};
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const Memory<T> params({p, n}, gap, start, first), m({p, n}, gap, Trials(3, Vector(at(n))), first);
      const Memory<T> v({p, n}, gap, Trials(3, Vector(at(n))), first), norm({p}, gap);
      const Memory<T> mlr({p}, gap, lr, first), mdecay({p}, gap, decay, first), mclip({p}, gap, clip, first);
      const Memory<T> total({p, n}, gap, Trials(3, Vector(at(n))), first);
      for (int i = 0; i < 5; ++i) {
        const std::vector<Ints> steps(3, Ints{i + 1});
        const Memory<std::int32_t> step({p}, gap, steps, first);
        const Memory<T> g({p, n}, gap, gradients[at(i)], first);
        adamw_update(ctx, options, {mlr, mdecay, mclip, step}, params, g, m, v);
        add_into(ctx, g, total);
      }
      grad_norm(ctx, total, norm);
      for (const auto* memory : {&params, &m, &v, &norm, &total}) memory->check_fences();
      return std::array{params.all(), m.all(), v.all(), total.all(), norm.all()};
    };
    const auto all = run(0, 3, 3);
    for (std::size_t p = 0; p < 3; ++p) {
      Vector param = start[p], m(at(n)), v(at(n)), total(at(n));
      for (int i = 0; i < 5; ++i) {
        oracle::adamw({lr[p][0], decay[p][0], clip[p][0], 0.875, 0.96875, 1e-8, i + 1, n / 2}, param,
                      gradients[at(i)][p], m, v);
        for (std::size_t j = 0; j < total.size(); ++j) total[j] += gradients[at(i)][p][j];
      }
      CHECK(error(all[0][p], param) < tolerance<T>);
      CHECK(error(all[1][p], m) < tolerance<T>);
      CHECK(error(all[2][p], v) < tolerance<T>);
      CHECK(error(all[3][p], total) < tolerance<T>);
      CHECK(error(all[4][p], {std::sqrt(dot(total, total))}) < tolerance<T>);
      const auto alone = run(p, 1, 1);
      for (std::size_t i = 0; i < all.size(); ++i) CHECK(same_bits(all[i][p], alone[i][0]));
    }
  }
}
