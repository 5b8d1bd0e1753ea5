// MQAR: its parameters and its table (see mqar.hpp).
#include "model/data/tasks/mqar.hpp"

#include <fmt/format.h>

#include <cmath>

#include "model/data/tasks/types.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;

void check(const TaskSpec& spec, std::int64_t context) {
  const std::int64_t n = spec.whole("pairs"), u = spec.whole("reassign"), vocab = spec.whole("vocab");
  const std::int64_t key_tokens = spec.whole("key_tokens");
  if (context > kMaxContext) {
    throw InputError(fmt::format("task mqar takes a context of at most {} tokens, not {}", kMaxContext, context));
  }
  if (u > n) {
    throw InputError(fmt::format("task.reassign: {} keys cannot be assigned again, there are {} (task.pairs)", u, n));
  }
  const std::int64_t needed = (key_tokens + 1) * (n + u) + 2 * n;
  if (needed > context) {
    throw InputError(fmt::format(
        "task.pairs: {} pairs{} and their queries need a context of {} tokens, not {}; take fewer pairs or a longer "
        "context",
        n, u > 0 ? fmt::format(", {} assigned again,", u) : "", needed, context));
  }
  if (key_tokens == 1 && n > vocab / 2 - 1) {
    throw InputError(fmt::format("task.pairs: {} different keys need a vocabulary of {} tokens, task.vocab is {}", n,
                                 2 * n + 2, vocab));
  }
  if (n + u > vocab - vocab / 2) {
    throw InputError(fmt::format("task.pairs: {} different values need a vocabulary of {} tokens, task.vocab is {}",
                                 n + u, 2 * (n + u), vocab));
  }
}

std::int32_t symbol_count(const TaskSpec& spec) {
  if (spec.whole("key_tokens") == 1) return 0;
  std::int32_t m = 1;
  while (static_cast<std::int64_t>(m) * m < 2 * spec.whole("pairs")) ++m;
  if (m > spec.whole("vocab") / 2 - 1) {
    throw InputError(fmt::format("task.pairs: {} two-token keys need a vocabulary of {} tokens, task.vocab is {}",
                                 spec.whole("pairs"), 2 * m + 2, spec.whole("vocab")));
  }
  return m;
}

std::vector<std::uint64_t> prefix_sums(std::int64_t slots, double power_a) {
  std::vector<std::uint64_t> prefix(static_cast<std::size_t>(slots) + 1, 0);
  for (std::size_t g = 1; g < prefix.size(); ++g) {
    const double weight = std::ldexp(std::pow(static_cast<double>(g), power_a - 1), 32);
    prefix[g] = prefix[g - 1] + static_cast<std::uint64_t>(std::llround(weight));
  }
  return prefix;
}

std::unique_ptr<Task> make(const TaskSpec& spec, std::int64_t context) {
  check(spec, context);
  Mqar mqar;
  mqar.vocab = spec.whole("vocab");
  mqar.length = context;
  mqar.pairs = static_cast<std::int32_t>(spec.whole("pairs"));
  mqar.reassign = static_cast<std::int32_t>(spec.whole("reassign"));
  mqar.key_tokens = static_cast<std::int32_t>(spec.whole("key_tokens"));
  mqar.symbols = symbol_count(spec);
  mqar.filler = spec.whole("filler") != 0;
  mqar.scratch_words = mqar.taken_words() + mqar.pairs + mqar.symbols;
  return std::make_unique<GeneratedTask<Mqar>>(spec, mqar, MetricPlan{.distance = true}, mqar.pairs,
                                               prefix_sums(mqar.slots(), spec.real("power_a")));
}

}  // namespace

TaskType mqar_type() {
  return {
      .name = "mqar",
      .summary = "multi-query associative recall: pairs of key and value, then every key asked once (Zoology)",
      .protocol =
          "pairs (key, value) with different keys and values, then every key once more at a gap g of "
          "probability ~ g^(power_a - 1), different gaps, query at 2 pairs + 2 (g - 1); only the value at "
          "each query is trained and scored; other tokens are 0 (filler 0) or uniform (filler 1); "
          "reassign: so many keys get a new value after all pairs, which counts; port of arXiv 2312.04927",
      .parameters = {{"vocab", "tokens: the lower half are keys (but 0), the upper half values", std::int64_t{8192}, 4,
                      1 << 20},
                     {"pairs", "keys, each asked once", std::int64_t{4}, 1, 1 << 22},
                     {"power_a", "exponent of the gaps' distribution; 1: uniform", 0.01, 0, 1},
                     {"filler", "tokens between queries, 0: zeros, 1: uniform over the vocabulary", std::int64_t{0}, 0,
                      1},
                     {"reassign", "keys that are assigned a second value, which counts", std::int64_t{0}, 0, 1 << 22},
                     {"key_tokens", "tokens of a key", std::int64_t{1}, 1, 2},
                     train_sequences_parameter(100000)},
      .context = 64,
      .make = make};
}

}  // namespace hylas::model
