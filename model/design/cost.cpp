// Counts of a design, layer by layer. d = d_model, H = heads, h = head_dim, w = H h, kv = kv_heads h, T = context.
//
// Block and norms   parameters: final RMSNorm d; a layer: RMSNorm d before the mixer, and with ffn > 0 another d and
//                   3 d ffn (gate, up, down).
// full, swa         parameters: q d w, k and v 2 d kv, output w d; a sink adds H logits.
//                   products: scores and values 4 w mean_keys. cache: 2 kv min(T, W) values.
// gdn               parameters: q, k, v, z 4 d w; beta and decay 2 d H; output w d; conv of width 4 over q, k, v 12 w;
// A_log
//                   and dt_bias 2 H; the norm's weight h (one for all heads).
//                   products a token and head in a chunk of C (K = V = h; triangles counted as such, as mean_keys
//                   does): K K^T strictly lower (C-1)K, inverse of the unit triangle (C-1)(C-2)/3, U and W (C+1)(V+K),
//                   Q K^T (C+1)K, its product with V' (C+1)V, W S, Q S and K^T V' 6 K V.
//                   cache: states H K V, and the last 3 inputs of the conv 9 w.
// mamba2            inner width e = 2 d, n = e/64 heads, state K = 64, head size V = 64, B and C shared by the heads.
//                   parameters: input d (2 e + 2 K + n); conv of width 4 and bias over x, B, C 5 (e + 2 K); dt_bias,
//                   A_log and D 3 n; norm e; output e d. products: C B^T (C+1)K once; a head: times V (C+1)V, C S and
//                   B^T V 4 K V. Chunk 64. cache: states n K V, conv 3 (e + 2 K).
// lightning         parameters: q, k, v, z 4 d w; output w d; norm w.
//                   products a head: (C+1)(K+V) + 4 K V. Chunk 64. cache: states H K V.
//
// FLOPs forward = 2 (weights of matrices and convs a token meets, head included) + products (two for a multiply-add;
// with chunks, the mean over the T tokens of a sequence, the last chunk shorter). Norms, softmax, activations, gates,
// embedding lookup: 0. Training is three times as much. Every cached value is bf16. Source: MATHS 1 "Counts", "FLOPs",
// "Cache" and MATHS 2 (arXiv 2412.06464, 2405.21060, 2405.17381).
#include "model/design/cost.hpp"

#include <algorithm>
#include <cmath>

#include "model/design/recurrent_sizes.hpp"

namespace hylas::model {
namespace {

constexpr std::int64_t kConvWidth = 4;
constexpr std::int64_t kBytes = 2;  // bf16

// What one layer's mixer costs.
struct MixerCost {
  std::int64_t weights = 0;  // of matrices and convs: 2 FLOPs a token each
  std::int64_t vectors = 0;  // parameters that cost nothing: biases, norms, sinks, decays
  double products = 0;       // FLOPs a token of products between activations, forward
  std::int64_t cache = 0;    // values kept of one sequence
};

// The mean of f(chunk length) over the tokens of a sequence of T cut into chunks of C, the last one shorter.
template <class F>
double mean_over_chunks(std::int64_t T, std::int64_t C, const F& f) {
  const std::int64_t whole = T / C * C;
  const std::int64_t rest = T - whole;
  double sum = static_cast<double>(whole) * f(static_cast<double>(C));
  if (rest > 0) sum += static_cast<double>(rest) * f(static_cast<double>(rest));
  return sum / static_cast<double>(T);
}

MixerCost attention_cost(const Layer& layer, const Shape& s) {
  MixerCost cost;
  cost.weights = 2 * s.d_model * s.q_width() + 2 * s.d_model * s.kv_width();
  cost.vectors = layer.sink ? s.heads : 0;
  cost.products = 4.0 * static_cast<double>(s.q_width()) * mean_keys(layer, s.context);
  const std::int64_t kept = layer.mixer == Mixer::swa ? std::min<std::int64_t>(s.context, layer.window) : s.context;
  cost.cache = 2 * s.kv_width() * kept;
  return cost;
}

MixerCost gdn_cost(const Shape& s) {
  const std::int64_t w = s.q_width();
  const double K = static_cast<double>(s.head_dim);
  MixerCost cost;
  cost.weights = 5 * s.d_model * w + 2 * s.d_model * s.heads + kConvWidth * 3 * w;
  cost.vectors = 2 * s.heads + s.head_dim;
  cost.products = static_cast<double>(s.heads) * mean_over_chunks(s.context, kRecurrentChunk, [&](double C) {
                    return (C - 1) * K + (C - 1) * (C - 2) / 3 + 4 * (C + 1) * K + 6 * K * K;
                  });
  cost.cache = s.heads * s.head_dim * s.head_dim + (kConvWidth - 1) * 3 * w;
  return cost;
}

MixerCost mamba2_cost(const Shape& s) {
  const std::int64_t e = kMamba2Expand * s.d_model;
  const std::int64_t heads = e / kMamba2HeadDim;
  const std::int64_t conv = e + 2 * kMamba2State;
  const double K = kMamba2State;
  const double V = kMamba2HeadDim;
  MixerCost cost;
  cost.weights = s.d_model * (2 * e + 2 * kMamba2State + heads) + kConvWidth * conv + e * s.d_model;
  cost.vectors = conv + 3 * heads + e;
  cost.products = mean_over_chunks(s.context, kRecurrentChunk, [&](double C) {
    return (C + 1) * K + static_cast<double>(heads) * ((C + 1) * V + 4 * K * V);
  });
  cost.cache = heads * kMamba2State * kMamba2HeadDim + (kConvWidth - 1) * conv;
  return cost;
}

MixerCost lightning_cost(const Shape& s) {
  const std::int64_t w = s.q_width();
  const double K = static_cast<double>(s.head_dim);
  MixerCost cost;
  cost.weights = 5 * s.d_model * w;
  cost.vectors = w;
  cost.products = static_cast<double>(s.heads) *
                  mean_over_chunks(s.context, kRecurrentChunk, [&](double C) { return 2 * (C + 1) * K + 4 * K * K; });
  cost.cache = s.heads * s.head_dim * s.head_dim;
  return cost;
}

MixerCost mixer_cost(const Layer& layer, const Shape& shape) {
  switch (layer.mixer) {
    case Mixer::full:
    case Mixer::swa: return attention_cost(layer, shape);
    case Mixer::gdn: return gdn_cost(shape);
    case Mixer::mamba2: return mamba2_cost(shape);
    case Mixer::lightning: return lightning_cost(shape);
  }
  return {};
}

}  // namespace

double mean_keys(const Layer& layer, std::int64_t context) {
  if (!is_attention(layer.mixer)) return 0;
  const double T = static_cast<double>(context);
  if (layer.mixer == Mixer::full || layer.window >= context) return (T + 1) / 2;
  const double W = layer.window;
  return W - W * (W - 1) / (2 * T);
}

Cost cost_of(const Design& design) {
  const Shape& s = design.shape;
  const std::int64_t ffn = 3 * s.d_model * s.ffn;
  const std::int64_t norms = s.ffn > 0 ? 2 * s.d_model : s.d_model;
  const std::int64_t embedding = s.vocab * s.d_model;
  Cost cost;
  cost.parameters_non_embedding = s.d_model;
  std::int64_t weights = embedding;  // the head, tied or not
  double products = 0;
  for (const Layer& layer : design.layout.layers) {
    const MixerCost mixer = mixer_cost(layer, s);
    cost.parameters_non_embedding += mixer.weights + mixer.vectors + ffn + norms;
    weights += mixer.weights + ffn;
    products += mixer.products;
    cost.cache_bytes += kBytes * mixer.cache;
  }
  cost.parameters_total = cost.parameters_non_embedding + (s.tied ? 1 : 2) * embedding;
  cost.flops_forward = 2.0 * static_cast<double>(weights) + products;
  cost.flops_train = 3 * cost.flops_forward;
  return cost;
}

Covariates covariates_of(const Design& design) {
  Covariates c;
  int full = 0, full_nope = 0, swa = 0, sinks = 0;
  double log_windows = 0;
  for (const Layer& layer : design.layout.layers) {
    if (layer.mixer == Mixer::full) {
      ++full;
      full_nope += layer.rope ? 0 : 1;
    } else if (layer.mixer == Mixer::swa) {
      ++swa;
      log_windows += std::log(static_cast<double>(layer.window));
    }
    sinks += layer.sink ? 1 : 0;
  }
  c.depth = design.depth();
  c.has_swa = swa > 0;
  if (swa > 0) c.log_window = log_windows / swa;
  if (c.depth > 0) c.full_fraction = static_cast<double>(full) / c.depth;
  if (full > 0) c.nope_full = static_cast<double>(full_nope) / full;
  if (full + swa > 0) c.sink = static_cast<double>(sinks) / (full + swa);
  if (c.depth > 0) c.recurrent_fraction = static_cast<double>(c.depth - full - swa) / c.depth;
  c.width = design.shape.d_model;
  c.parameters = cost_of(design).parameters_non_embedding;
  return c;
}

}  // namespace hylas::model
