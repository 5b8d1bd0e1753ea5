// Who holds a lease, and on whose clock: identity of this process and of this boot, and whether another process still
// lives.
//
// A write-ahead log is shared through the memory of one machine, so all users of a store run on one kernel and share
// its monotonic clock, which nobody can set: a lease's deadline is a time of that clock, valid for one boot. A lease
// from another boot is over, since its process cannot have survived. Thread-safety: free functions.
#pragma once

#include <string>
#include <string_view>

namespace hylas::db {

struct Owner {
  std::string name;     // "host:pid", for people
  std::string boot;     // of the kernel
  std::string process;  // "pid namespace:pid:start time"
};

[[nodiscard]] Owner this_process();
[[nodiscard]] double monotonic_seconds();
// False only where it is certain that the process has ended: same pid namespace, and no such pid with that start time.
[[nodiscard]] bool may_be_alive(std::string_view process);
// Whether a lease is over for an observer who is `self` at time `now`.
[[nodiscard]] bool lease_is_over(const Owner& holder, double until, const Owner& self, double now);
[[nodiscard]] std::string utc_now();

}  // namespace hylas::db
