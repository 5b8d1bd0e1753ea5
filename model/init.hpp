// Initialisation: a trial's weights from its seed.
//
// embedding: normal, std recipe.embed_std; other matrices: normal, std fan_in^-1/2; mixer-output and FFN-output
// matrices further divided by sqrt(2 * layers); norms and D 1; sinks 0 (MATHS 1); convolutions and their biases
// uniform within +- width^-1/2; A_log = ln U(1, 16); dt_bias such that softplus(dt_bias) = exp(U(ln .001, ln .1))
// (MATHS 2). Element i of the k-th stored weight is a function of (seed, k, i) only: Philox4x32-10 keyed by the seed,
// Box-Muller in double for the normal ones, rounded once to the block's dtype. So trials that differ only in their
// windows start equal, whatever machine, thread or cohort they are in.
#pragma once

#include "kernels/tensor.hpp"
#include "model/parameters.hpp"
#include "model/recipe.hpp"

namespace hylas::model {

// Fills a trial's block [1, N] (f32 or f64), padding included.
void initialise(const ParameterTable& table, const Recipe& recipe, int layers, const kernels::Tensor& weights);
// One stored weight (an index into table.stored()) by itself: `out` holds its size() elements.
void initialise_weight(const ParameterTable& table, std::size_t index, const Recipe& recipe, int layers, float* out);

}  // namespace hylas::model
