// Compute-optimal N and D for L = E + A N^-alpha + B D^-beta (MATHS 4).
//
// Closed form under C = 6ND:  G = (alpha A / (beta B))^{1/(alpha+beta)},  N* = G (C/6)^{beta/(alpha+beta)},  D* = C /
// (6 N*). With any other cost (attention FLOPs): the same loss along D = C / flops_per_token(N), minimised over ln N.
// Errors: std::invalid_argument for C <= 0.
#pragma once

#include <functional>

#include "fitting/loss.hpp"

namespace hylas::search {

struct SizeAndTokens {
  double n = 0, d = 0, loss = 0;
};

[[nodiscard]] SizeAndTokens compute_optimal(const fitting::ChinchillaLaw& law, double flops);
// flops_per_token(N): training FLOPs a token of a model with N non-embedding parameters, increasing in N.
[[nodiscard]] SizeAndTokens compute_optimal(const fitting::ChinchillaLaw& law, double flops,
                                            const std::function<double(double)>& flops_per_token);

}  // namespace hylas::search
