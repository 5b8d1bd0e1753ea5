// What the tests of short_conv, decay_gates and gated_norm share, on the CPU and on a GPU: the mixers' maps of the
// columns of a projection, and the promise that columns of others are left alone.
#pragma once

#include "kernels/decay_gates.hpp"
#include "kernels/gated_norm.hpp"
#include "kernels/short_conv.hpp"
#include "tests/kernels/support.hpp"
#include "tests/oracle/recurrent_rows.hpp"

namespace hylas::test {

struct ConvCase {
  const char* name;
  kernels::ShortConv conv;
  std::int64_t width;  // of the projection, gates and all
  bool weight, bias;
};

// Gated DeltaNet: q, k, v and z of a head side by side, then two columns a head for the gates.
inline ConvCase gdn_case(std::int64_t heads, std::int64_t hd) {
  return {"gdn",
          {{{{0, 4 * hd, heads, hd, true}, {hd, 4 * hd, heads, hd, true}, {2 * hd, 4 * hd, heads, hd, false}}}},
          4 * heads * hd + 2 * heads,
          true,
          false};
}
// Mamba-2: z, x, B, C one after another, then a column a head of 64 for the step.
inline ConvCase mamba2_case(std::int64_t e, std::int64_t state) {
  return {"mamba2",
          {{{{e, e, 1, e, false}, {2 * e, state, 1, state, false}, {2 * e + state, state, 1, state, false}}}},
          2 * e + 2 * state + (e + 63) / 64,
          true,
          true};
}
// Lightning: q, k and v of a head side by side, then z of all heads; no convolution.
inline ConvCase lightning_case(std::int64_t heads, std::int64_t hd) {
  return {"lightning",
          {{{{0, 3 * hd, heads, hd, false}, {hd, 3 * hd, heads, hd, false}, {2 * hd, 3 * hd, heads, hd, false}}}},
          4 * heads * hd,
          false,
          false};
}

// No mixer's: normalised heads of three sizes, so that on a GPU they share a warp.
inline ConvCase unequal_heads_case() {
  return {"unequal heads", {{{{0, 20, 2, 8, true}, {40, 64, 1, 64, true}, {104, 12, 3, 12, true}}}}, 140, true, true};
}

using Columns = std::vector<bool>;  // of a row of the projection: whether an operator writes them

inline Columns columns_of(const ConvCase& c) {
  Columns columns(at(c.width));
  for (const kernels::ConvSegment& s : c.conv.segments) {
    for (std::int64_t i = 0; i < s.heads * s.dim; ++i) columns[at(s.at + i / s.dim * s.stride + i % s.dim)] = true;
  }
  return columns;
}
inline Columns columns_of(const kernels::DecayGates& g, std::int64_t width) {
  Columns columns(at(width));
  for (std::int64_t h = 0; h < g.heads; ++h) {
    columns[at(g.step_at + h * g.step_stride)] = true;
    if (!g.beta_is_step) columns[at(g.beta_at + h * g.beta_stride)] = true;
  }
  for (std::int64_t i = 0; i < g.unused; ++i) columns[at(g.unused_at + i)] = true;
  return columns;
}
inline Columns columns_of(const kernels::GatedNorm& n, std::int64_t width) {
  Columns columns(at(width));
  for (std::int64_t i = 0; i < n.groups * n.dim; ++i) columns[at(n.z_at + i / n.dim * n.z_stride + i % n.dim)] = true;
  return columns;
}

// dproj with its other columns, which must still be poisoned, made zero: what the oracle gives.
template <class T>
std::vector<T> only(const Columns& columns, std::vector<T> dproj) {
  bool untouched = true;
  for (std::size_t i = 0; i < dproj.size(); ++i) {
    if (columns[i % columns.size()]) continue;
    untouched = untouched && std::isnan(dproj[i]);
    dproj[i] = 0;
  }
  CHECK(untouched);
  return dproj;
}

inline Vector added(const Vector& a, const Vector& b) {
  Vector c = a;
  for (std::size_t i = 0; i < c.size(); ++i) c[i] += b[i];
  return c;
}

}  // namespace hylas::test
