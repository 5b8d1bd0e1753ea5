// Costs: the released sizes of the seed paper, and every formula counted a second time from lists of tensors and loops.
#include <cmath>
#include <numeric>
#include <random>

#include "model/design/cost.hpp"
#include "tests/catch.hpp"

using namespace hylas::model;

namespace {

Shape paper(std::int64_t d, std::int64_t ffn) {
  Shape s;
  s.d_model = d;
  s.heads = d / 64;
  s.kv_heads = 2;
  s.head_dim = 64;
  s.ffn = ffn;
  s.vocab = 73448;
  s.context = 16384;
  s.tied = false;
  if (s.heads % s.kv_heads != 0) s.kv_heads = s.heads;
  return s;
}

Shape odd_shape(std::int64_t context) {
  Shape s;
  s.d_model = 96;
  s.heads = 3;
  s.kv_heads = 1;
  s.head_dim = 32;
  s.ffn = 160;
  s.vocab = 50;
  s.context = context;
  return s;
}

Cost cost(const char* layout, const Shape& shape) {
  return cost_of(Design::make(layout, shape));
}

std::int64_t product(std::initializer_list<std::int64_t> dims) {
  return std::accumulate(dims.begin(), dims.end(), std::int64_t{1}, std::multiplies<>());
}

// Keys seen, counted query by query: the definition of the window in DESIGN.
double counted_keys(std::int64_t window, std::int64_t context) {
  double sum = 0;
  for (std::int64_t i = 0; i < context; ++i)
    sum += static_cast<double>(i - std::max<std::int64_t>(0, i - window + 1) + 1);
  return sum / static_cast<double>(context);
}

// Multiply-adds of one head's chunked gated delta rule over a sequence, from loops over the triangles of MATHS 2.
double counted_gdn(std::int64_t T, std::int64_t K, std::int64_t V) {
  double flops = 0;
  for (std::int64_t begin = 0; begin < T; begin += 64) {
    const std::int64_t C = std::min<std::int64_t>(64, T - begin);
    for (std::int64_t i = 0; i < C; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        if (j < i) flops += 2.0 * K;            // A = strictly lower of K K^T
        flops += 2.0 * K + 2.0 * V;             // Tm (beta e^G K), Tm (beta V)
        flops += 2.0 * K + 2.0 * V;             // Q K^T, times V'
        if (j < i) flops += 2.0 * (i - j - 1);  // (I + A)^-1 by forward substitution: sum over j < k < i
      }
      flops += 3 * 2.0 * K * V;  // W S, Q S, K^T V'
    }
  }
  return flops / static_cast<double>(T);
}

double counted_ssd(std::int64_t T, std::int64_t heads) {
  double flops = 0;
  for (std::int64_t begin = 0; begin < T; begin += 64) {
    const std::int64_t C = std::min<std::int64_t>(64, T - begin);
    for (std::int64_t i = 0; i < C; ++i) {
      flops += 2.0 * 64 * static_cast<double>(i + 1);  // C B^T, shared by the heads
      flops += static_cast<double>(heads) *
               (2.0 * 64 * static_cast<double>(i + 1) + 2 * 2.0 * 64 * 64);  // times V, C S, B^T V
    }
  }
  return flops / static_cast<double>(T);
}

}  // namespace

TEST_CASE("The seed paper's sizes S1 to S4, whatever the windows and NoPE") {
  struct Size {
    std::int64_t d, layers, ffn, parameters;
  };
  for (const Size& size : {Size{384, 10, 960, 14'999'424}, Size{512, 12, 1280, 31'470'080},
                           Size{640, 16, 1600, 64'901'760}, Size{768, 18, 1920, 104'427'264}}) {
    Shape shape = paper(size.d, size.ffn);
    shape.kv_heads = 2;
    CAPTURE(size.d);
    for (const char* pair : {"(swa:128 full)*", "(swa:2048 full/nope)*"}) {
      const Cost c = cost((pair + std::to_string(size.layers / 2)).c_str(), shape);
      CHECK(c.parameters_non_embedding == size.parameters);
      CHECK(c.parameters_total == size.parameters + 2 * shape.vocab * size.d);
    }
    shape.tied = true;
    const Cost tied = cost(("full*" + std::to_string(size.layers)).c_str(), shape);
    CHECK(tied.parameters_non_embedding == size.parameters);
    CHECK(tied.parameters_total == size.parameters + shape.vocab * size.d);
  }
}

TEST_CASE("Parameters of a layer are the sum over its tensors, for every mixer") {
  const Shape s = odd_shape(100);
  const std::int64_t d = 96, w = 96, kv = 32, H = 3, f = 160;
  const std::int64_t around = product({3, d, f}) + 2 * d;  // gate, up, down; two norms
  const auto layer = [&](const char* text) { return cost(text, s).parameters_non_embedding - d - around; };
  CHECK(layer("full") == product({d, w}) + 2 * product({d, kv}) + product({w, d}));
  CHECK(layer("swa:7/nope") == layer("full"));
  CHECK(layer("full/sink") == layer("full") + H);
  CHECK(layer("gdn") == 4 * product({d, w}) + product({w, d}) + 2 * product({d, H}) + 3 * product({w, 4}) + H + H + 32);
  CHECK(layer("lightning") == 4 * product({d, w}) + product({w, d}) + w);
  const std::int64_t e = 192, heads = 3, state = 64;  // inner width, heads of 64
  CHECK(layer("mamba2") == product({d, e + e + state + state + heads}) + product({e + 2 * state, 4}) + (e + 2 * state) +
                               3 * heads + e + product({e, d}));
  Shape bare = s;
  bare.ffn = 0;
  CHECK(cost("full*2", bare).parameters_non_embedding == 2 * (layer("full") + d) + d);
}

TEST_CASE("mean_keys is the mean number of keys a query sees, for every window") {
  for (const std::int64_t context : {1, 2, 5, 64, 97}) {
    for (std::int32_t window = 1; window <= 100; ++window) {
      CAPTURE(context, window);
      // Both are ratios of small integers; 1e-12 allows for the different order of the division.
      CHECK(mean_keys({Mixer::swa, window, true, false}, context) ==
            Approx(counted_keys(window, context)).epsilon(1e-12));
    }
    CHECK(mean_keys({Mixer::full, 0, true, false}, context) == Approx(counted_keys(context, context)).epsilon(1e-12));
    CHECK(mean_keys({Mixer::gdn, 0, false, false}, context) == 0);
  }
}

TEST_CASE("FLOPs of attention layouts: 6 a matrix parameter and 12 d_attn mean_keys a layer; forward is a third") {
  for (const bool tied : {true, false}) {
    Shape s = odd_shape(256);
    s.tied = tied;
    const Cost c = cost("(swa:16 full/nope/sink)*3", s);
    const double matrices = 6 * (96 * 96 * 2 + 2 * 96 * 32 + 3 * 96 * 160) + 50 * 96;  // the head counts, tied or not
    const double keys = 3 * (16 - 16.0 * 15 / 512) + 3 * 257 / 2.0;
    CHECK(c.flops_train == Approx(6 * matrices + 12 * 96 * keys).epsilon(1e-12));
    CHECK(c.flops_forward * 3 == Approx(c.flops_train).epsilon(1e-15));
  }
}

TEST_CASE("FLOPs of recurrent mixers are those of their chunked algorithms, counted by loops") {
  for (const std::int64_t context : {1, 2, 63, 64, 65, 100, 256, 1000}) {
    CAPTURE(context);
    const Shape s = odd_shape(context);
    const double head = 2.0 * 50 * 96;
    const double ffn = 2.0 * 3 * 96 * 160;
    const double gdn = 2.0 * (5 * 96 * 96 + 2 * 96 * 3 + 12 * 96) + 3 * counted_gdn(context, 32, 32);
    CHECK(cost("gdn*2", s).flops_forward == Approx(head + 2 * (ffn + gdn)).epsilon(1e-12));
    const double mamba2 = 2.0 * (96 * (2 * 192 + 128 + 3) + 4 * (192 + 128) + 192 * 96) + counted_ssd(context, 3);
    CHECK(cost("mamba2", s).flops_forward == Approx(head + ffn + mamba2).epsilon(1e-12));
    double triangle = 0;  // of lightning: Q K^T and its product with V, chunks of 64
    for (std::int64_t i = 0; i < context; ++i) triangle += static_cast<double>(i % 64 + 1);
    const double lightning =
        2.0 * 5 * 96 * 96 + 3 * (2.0 * 2 * 32 * triangle / static_cast<double>(context) + 2 * 2.0 * 32 * 32);
    CHECK(cost("lightning", s).flops_forward == Approx(head + ffn + lightning).epsilon(1e-12));
  }
}

TEST_CASE("Cache: bf16 keys and values of the positions a layer still needs, and the states of recurrent mixers") {
  const Shape s = odd_shape(1000);
  CHECK(cost("full", s).cache_bytes == 2 * 2 * 32 * 1000);
  CHECK(cost("swa:16/sink", s).cache_bytes == 2 * 2 * 32 * 16);
  CHECK(cost("swa:5000", s).cache_bytes == cost("full", s).cache_bytes);
  CHECK(cost("gdn", s).cache_bytes == 2 * (3 * 32 * 32 + 3 * 3 * 96));
  CHECK(cost("lightning", s).cache_bytes == 2 * 3 * 32 * 32);
  CHECK(cost("mamba2", s).cache_bytes == 2 * (3 * 64 * 64 + 3 * (192 + 128)));
  CHECK(cost("(swa:16 full)*5", s).cache_bytes == 5 * (cost("swa:16", s).cache_bytes + cost("full", s).cache_bytes));
}

TEST_CASE("The largest shape that validates does not overflow") {
  Shape s;
  s.d_model = 1 << 20;
  s.heads = s.kv_heads = s.head_dim = 1 << 12;
  s.ffn = 1 << 24;
  s.vocab = std::int64_t{1} << 31;
  s.context = 1 << 26;
  for (const char* layout : {"full*1024", "gdn*1024", "mamba2*1024", "lightning*1024"}) {
    const Cost c = cost(layout, s);
    CHECK(c.parameters_non_embedding > (std::int64_t{1} << 50));
    CHECK(c.parameters_total > c.parameters_non_embedding);
    CHECK(c.cache_bytes > 0);
    CHECK(std::isfinite(c.flops_train));
  }
}

TEST_CASE("Covariates for the laws") {
  const Shape s = odd_shape(512);
  const Covariates c = covariates_of(Design::make("swa:4 swa:16 full/nope full gdn swa:64/sink", s));
  CHECK(c.has_swa);
  CHECK(c.log_window == Approx(std::log(16.0)).epsilon(1e-14));  // the geometric mean of 4, 16, 64
  CHECK(c.full_fraction == Approx(2.0 / 6));
  CHECK(c.nope_full == Approx(0.5));
  CHECK(c.sink == Approx(1.0 / 5));
  CHECK(c.recurrent_fraction == Approx(1.0 / 6));
  CHECK(c.depth == 6);
  CHECK(c.width == 96);
  CHECK(c.parameters == cost("swa:4 swa:16 full/nope full gdn swa:64/sink", s).parameters_non_embedding);
  const Covariates none = covariates_of(Design::make("gdn swa:512", s));  // a window of the context is full attention
  CHECK_FALSE(none.has_swa);
  CHECK(none.log_window == 0);
  CHECK(none.full_fraction == Approx(0.5));
  const Covariates recurrent = covariates_of(Design::make("mamba2*3", s));
  CHECK(recurrent.nope_full == 0);
  CHECK(recurrent.sink == 0);
  CHECK(recurrent.recurrent_fraction == 1);
}
