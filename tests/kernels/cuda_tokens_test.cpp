// embed and the rows of cross-entropy on the GPU against the oracle: f32 and bf16, small and large vocabularies,
// results of trials together and alone bit for bit, a trial's NaN kept to itself.
#include <algorithm>

#include "kernels/backends.hpp"
#include "kernels/cuda/cross_entropy.hpp"
#include "tests/kernels/cuda_dense_support.hpp"

using namespace hylas::kernels;
using namespace hylas::test;
namespace oracle = hylas::oracle;

namespace {

std::vector<Ints> skewed_tokens(Random& random, std::int64_t n, std::int64_t vocabulary) {
  std::vector<Ints> tokens;
  for (std::int64_t p = 0; p < trials; ++p) {
    Ints v = random.integers(n, 0, static_cast<int>(vocabulary) - 1);
    // Half of them among the first few: long runs beside rare tokens.
    for (std::size_t i = 0; i < v.size(); i += 2) v[i] %= 3;
    tokens.push_back(v);
  }
  return tokens;
}

struct EmbedShape {
  std::int64_t b, length, vocabulary, d;
};

void check_embed(Gpu& gpu, DType t, const std::vector<EmbedShape>& shapes) {
  Random random(43);
  for (const auto& [b, length, vocabulary, d] : shapes) {
    CAPTURE(b, length, vocabulary, d);
    const std::int64_t n = b * length;
    const auto tokens = skewed_tokens(random, n, vocabulary);
    const Trials tables = as_seen(t, random.trials(trials, vocabulary * d));
    const Trials befores = random.trials(trials, vocabulary * d);
    Trials dxs = as_seen(t, random.trials(trials, n * d));
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const DeviceTensor table(t, {p, vocabulary, d}, tables, first, gap),
          token(DType::i32, {p, b, length}, tokens, first, gap);
      const DeviceTensor x(t, {p, b, length, d}, gap), dx(t, {p, b, length, d}, dxs, first, gap);
      const DeviceTensor dtable(DType::f32, {p, vocabulary, d}, befores, first, gap);
      cuda::embed_forward(gpu.ctx, table, token, x);
      cuda::embed_backward(gpu.ctx, dx, token, dtable);
      for (const auto* m : {&x, &dtable}) m->check_fences();
      return std::array{x.all(), dtable.all()};
    };
    const auto all = run(0, trials, 64);
    for (std::size_t p = 0; p < trials; ++p) {
      CHECK(all[0][p] == oracle::embed(tables[p], tokens[p], d));
      CHECK(error(all[1][p], sum(oracle::embed_backward(dxs[p], tokens[p], d, vocabulary), befores[p])) < 2e-6);
    }
    check_alone(all, run);
    spoil(dxs);
    const auto with_nan = run(0, trials, 64);
    check_neighbours(all, with_nan);
    // Rows of tokens that do not occur stay as they were, even there.
    std::vector<bool> occurs(at(vocabulary));
    for (auto token : tokens[1]) occurs[at(token)] = true;
    for (std::int64_t i = 0; i < vocabulary * d; ++i) {
      const double x = with_nan[1][1][at(i)];
      const bool right = occurs[at(i / d)] ? std::isnan(x) : x == befores[1][at(i)];
      if (!right) FAIL("row " << i / d << " of the table");
    }
  }
}

// Rows of logits with ties, for the first three trials of a shape {1, rows, V}.
void check_loss_rows(Gpu& gpu, DType t, const Shapes& shapes) {
  Random random(44);
  const double scale = 0.37;
  for (const auto& shape : shapes) {
    const std::int64_t rows = shape[1], width = shape[2];
    CAPTURE(rows, width);
    Trials logits = as_seen(t, random.trials(trials, rows * width, 4));
    std::vector<Ints> targets;
    for (std::int64_t p = 0; p < trials; ++p) {
      targets.push_back(random.integers(rows, -1, static_cast<int>(width) - 1));
      auto& z = logits[at(p)];
      z[at(random.integers(1, 0, static_cast<int>(width) - 1)[0])] = 64;  // a tie of the largest in row 0
      z[at(random.integers(1, 0, static_cast<int>(width) - 1)[0])] = 64;
      if (p == 2 && width > 1) z[at(width - 1)] = -std::numeric_limits<double>::infinity();
      if (rows > 1) targets[at(p)][1] = -1;
    }
    targets[2][0] = 0;
    const auto run = [&](std::size_t first, std::int64_t p, std::int64_t gap) {
      const DeviceTensor train(t, {p, rows, width}, logits, first, gap), eval(t, {p, rows, width}, logits, first, gap);
      const DeviceTensor target(DType::i32, {p, rows}, targets, first, gap);
      const DeviceTensor loss(DType::f32, {p, rows}, gap), loss_eval(DType::f32, {p, rows}, gap);
      const DeviceTensor predicted(DType::i32, {p, rows}, gap);
      cuda::softmax_loss_rows(gpu.ctx, train, target, scale, loss);
      cuda::argmax_loss_rows(gpu.ctx, eval, target, loss_eval, predicted);
      for (const auto* m : {&train, &eval, &loss, &loss_eval, &predicted}) m->check_fences();
      return std::array{train.all(), loss.all(), loss_eval.all(), predicted.all()};
    };
    const auto all = run(0, trials, 64);
    for (std::size_t p = 0; p < trials; ++p) {
      Vector gradient(logits[p].size()), loss(at(rows)), predicted(at(rows), -1);
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int32_t target = targets[p][at(r)];
        if (target < 0) continue;
        const double* row = logits[p].data() + r * width;
        const auto best = std::max_element(row, row + width) - row;
        double total = 0;
        for (std::int64_t v = 0; v < width; ++v) total += std::exp(row[v] - row[best]);
        loss[at(r)] = std::log(total) + row[best] - row[target];
        predicted[at(r)] = static_cast<double>(best);
        for (std::int64_t v = 0; v < width; ++v) {
          gradient[at(r * width + v)] = scale * (std::exp(row[v] - row[best]) / total - (v == target ? 1 : 0));
        }
      }
      CHECK(error(all[0][p], gradient) < limit(t, rows));
      CHECK(error(all[1][p], loss) < 2e-6);
      CHECK(error(all[2][p], loss) < 2e-6);
      CHECK(all[3][p] == predicted);
    }
    check_alone(all, run);
    logits[1][0] = std::numeric_limits<double>::quiet_NaN();
    targets[1][0] = static_cast<std::int32_t>(width) - 1;
    const auto with_nan = run(0, trials, 64);
    check_neighbours(all, with_nan);
    CHECK(std::isnan(with_nan[1][1][0]));
    CHECK(std::isnan(with_nan[2][1][0]));
    for (std::int64_t v = 0; v < width; ++v) CHECK(std::isnan(with_nan[0][1][at(v)]));
  }
}

}  // namespace

TEST_CASE("embed on the GPU agrees with the oracle", "[gpu][embed]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_embed(gpu, both(), {{1, 1, 1, 1}, {1, 7, 3, 5}, {3, 65, 32, 64}, {2, 150, 1000, 8}, {1, 300, 6000, 40}});
}

TEST_CASE("embed on the GPU agrees with the oracle over many tiles of tokens", "[gpu][embed][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_embed(gpu, both(),
              {{16, 1024, 32, 64},
               {8, 1025, 512, 128},
               {4, 2048, 4096, 72},
               {3, 4099, 65536, 16},
               {1, 4097, 5000, 300},
               {64, 1024, 40, 8}});
}

TEST_CASE("embed on the GPU takes tokens that all trials share", "[gpu][embed]") {
  if (!gpu_here()) return;
  Gpu gpu;
  Random random(46);
  const std::int64_t n = 200, vocabulary = 50, d = 16;
  const auto tokens = skewed_tokens(random, n, vocabulary);
  const Trials dxs = random.trials(trials, n * d);
  const DeviceTensor token(DType::i32, {1, 2, 100}, tokens), dx(DType::f32, {trials, 2, 100, d}, dxs);
  Tensor shared(token.tensor().data(), DType::i32, {trials, 2, 100}, token.tensor().device());
  shared.set_trial_stride(0);
  const DeviceTensor dtable(DType::f32, {trials, vocabulary, d}, Trials(trials, Vector(at(vocabulary * d))));
  cuda::embed_backward(gpu.ctx, dx, shared, dtable);
  for (std::size_t p = 0; p < trials; ++p) {
    CHECK(error(dtable.all()[p], oracle::embed_backward(dxs[p], tokens[0], d, vocabulary)) < 2e-6);
  }
}

TEST_CASE("rows of cross-entropy on the GPU agree with the oracle", "[gpu][loss]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_loss_rows(gpu, both(),
                  {{1, 3, 1}, {1, 9, 7}, {1, 5, 64}, {1, 33, 128}, {1, 7, 520}, {1, 2, 1100}, {1, 2, 2600}});
}

TEST_CASE("rows of cross-entropy on the GPU agree with the oracle for large vocabularies", "[gpu][loss][large]") {
  if (!gpu_here()) return;
  Gpu gpu;
  check_loss_rows(
      gpu, both(),
      {{1, 700, 512}, {1, 100, 1024}, {1, 60, 4096}, {1, 5, 16384}, {1, 9, 32768}, {1, 3, 50257}, {1, 3, 65536}});
}
