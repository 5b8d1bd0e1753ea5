// The check of a MAD task's context (see mad.hpp).
#include "model/data/tasks/mad.hpp"

#include <fmt/format.h>

#include "model/design/input_error.hpp"

namespace hylas::model {

void check_mad_context(const TaskSpec& spec, std::int64_t context, std::int64_t least, bool pairs) {
  if (context >= least && context <= kMadMaxContext && (!pairs || context % 2 == 0)) return;
  throw InputError(fmt::format("task {} needs {}context of {} to {} tokens, not {}{}", spec.name,
                               pairs ? "an even " : "a ", least, kMadMaxContext, context,
                               pairs ? "; a sequence is pairs of tokens" : ""));
}

}  // namespace hylas::model
