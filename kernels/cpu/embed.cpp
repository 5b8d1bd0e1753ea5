// CPU: embed (kernels/embed.hpp).
#include "kernels/embed.hpp"

#include <algorithm>
#include <cassert>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

void check_embed(const cpu::Check& check, const Tensor& table, const char* table_name, const Tensor& tokens,
                 const Tensor& x, const char* x_name) {
  const std::int64_t trials = table.trials();
  check.tensor(table_name, table, table.dtype(), {trials, cpu::Check::any, cpu::Check::any});
  check.tensor("tokens", tokens, DType::i32, {trials, cpu::Check::any, cpu::Check::any});
  check.tensor(x_name, x, table.dtype(), {trials, tokens.dim(1), tokens.dim(2), table.dim(2)});
}

}  // namespace

void embed_forward(Context& ctx, const Tensor& table, const Tensor& tokens, const Tensor& x) {
  const cpu::Check check(ctx, "embed_forward");
  check.by_dtype("table", table, [&](auto zero) {
    using T = decltype(zero);
    check_embed(check, table, "table", tokens, x, "x");
    const std::int64_t d = table.dim(2);
    for (std::int64_t p = 0; p < table.trials(); ++p) {
      const auto* token = tokens.trial<std::int32_t>(p);
      for (std::int64_t i = 0; i < tokens.trial_size(); ++i) {
        assert(token[i] >= 0 && token[i] < table.dim(1));
        std::copy_n(table.trial<T>(p) + token[i] * d, d, x.trial<T>(p) + i * d);
      }
    }
  });
}

void embed_backward(Context& ctx, const Tensor& dx, const Tensor& tokens, const Tensor& dtable) {
  const cpu::Check check(ctx, "embed_backward");
  check.by_dtype("dtable", dtable, [&](auto zero) {
    using T = decltype(zero);
    check_embed(check, dtable, "dtable", tokens, dx, "dx");
    const std::int64_t d = dtable.dim(2);
    for (std::int64_t p = 0; p < dtable.trials(); ++p) {
      const auto* token = tokens.trial<std::int32_t>(p);
      for (std::int64_t i = 0; i < tokens.trial_size(); ++i) {
        assert(token[i] >= 0 && token[i] < dtable.dim(1));
        cpu::loops<T>(ctx).add(dx.trial<T>(p) + i * d, dtable.trial<T>(p) + token[i] * d, d);
      }
    }
  });
}

}  // namespace hylas::kernels::cpu
