// CPU: zero and copy (kernels/memory.hpp).
#include "kernels/memory.hpp"

#include <cstring>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"

namespace hylas::kernels::cpu {
namespace {

char* trial_of(const Tensor& t, std::int64_t p) {
  return static_cast<char*>(t.data()) + p * t.trial_stride() * size_of(t.dtype());
}

}  // namespace

void zero(Context& ctx, const Tensor& t) {
  const Check check(ctx, "zero");
  const auto bytes = static_cast<std::size_t>(t.trial_size() * size_of(t.dtype()));
  for (std::int64_t p = 0; p < t.trials(); ++p) std::memset(trial_of(t, p), 0, bytes);
}

void copy(Context& ctx, const Tensor& from, const Tensor& to) {
  const Check check(ctx, "copy");
  check.require(from.dtype() == to.dtype() && from.trials() == to.trials() && from.trial_size() == to.trial_size(),
                "from " + describe(from) + " and to " + describe(to) + " differ");
  const auto bytes = static_cast<std::size_t>(from.trial_size() * size_of(from.dtype()));
  for (std::int64_t p = 0; p < from.trials(); ++p) std::memcpy(trial_of(to, p), trial_of(from, p), bytes);
}

void cast(Context& ctx, const Tensor& from, const Tensor& /*to*/) {
  const Check check(ctx, "cast");
  check.require(false, "the CPU computes in " + describe(from) + "'s own type; bf16 needs a GPU");
}

}  // namespace hylas::kernels::cpu
