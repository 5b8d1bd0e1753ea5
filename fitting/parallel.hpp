// parallel_for: indices 0..count-1 on up to `threads` threads (< 1: all cores). Each index writes its own slot, so
// results do not depend on the threads. The first exception (lowest index) is rethrown.
#pragma once

#include <functional>

namespace hylas::fitting {

void parallel_for(int count, int threads, const std::function<void(int)>& body);

}  // namespace hylas::fitting
