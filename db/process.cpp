// Process and boot identity from /proc, and the rule that decides whether a lease is over.
#include "db/process.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <ctime>
#include <fstream>
#include <iterator>

namespace hylas::db {
namespace {

std::string first_line(const std::string& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

std::string pid_namespace() {
  std::array<char, 128> buffer{};
  const ssize_t size = readlink("/proc/self/ns/pid", buffer.data(), buffer.size());
  return size > 0 ? std::string(buffer.data(), static_cast<std::size_t>(size)) : std::string("pid:[unknown]");
}

// Clock ticks since boot at which the process started; "" where it does not exist or is a zombie.
std::string start_time(std::string_view pid) {
  const std::string stat = first_line(fmt::format("/proc/{}/stat", pid));
  // "pid (name) state ppid ... starttime": the name may hold anything, so fields count from the last parenthesis.
  const std::size_t close = stat.rfind(')');
  if (close == std::string::npos || close + 2 >= stat.size()) return "";
  if (stat[close + 2] == 'Z' || stat[close + 2] == 'X') return "";
  std::size_t position = close + 2;
  for (int field = 3; field < 22; ++field) {
    position = stat.find(' ', position);
    if (position == std::string::npos) return "";
    ++position;
  }
  return stat.substr(position, stat.find(' ', position) - position);
}

bool is_visible(std::string_view pid) {
  return !first_line(fmt::format("/proc/{}/stat", pid)).empty();
}

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> buffer{};
  return gethostname(buffer.data(), buffer.size() - 1) == 0 ? std::string(buffer.data()) : std::string("unknown");
}

}  // namespace

Owner this_process() {
  const std::string pid = std::to_string(getpid());
  return {host_name() + ":" + pid, first_line("/proc/sys/kernel/random/boot_id"),
          pid_namespace() + ":" + pid + ":" + start_time(pid)};
}

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool may_be_alive(std::string_view process) {
  const std::string here = pid_namespace() + ":";
  if (here.find("unknown") != std::string::npos || !process.starts_with(here)) return true;
  const std::string_view rest = process.substr(here.size());
  const std::size_t colon = rest.find(':');
  if (colon == std::string_view::npos || colon + 1 >= rest.size()) return true;
  const std::string_view pid = rest.substr(0, colon);
  long number = 0;
  const auto [end, error] = std::from_chars(pid.data(), pid.data() + pid.size(), number);
  if (error != std::errc() || end != pid.data() + pid.size() || number <= 0) return true;
  const std::string started = start_time(pid);
  if (!started.empty()) return started == rest.substr(colon + 1);
  // No such process, a zombie, or one that /proc hides from this user (hidepid).
  return !is_visible(pid) && (kill(static_cast<pid_t>(number), 0) == 0 || errno == EPERM);
}

bool lease_is_over(const Owner& holder, double until, const Owner& self, double now) {
  // Without a boot id (no /proc) clocks cannot be told apart: the deadline alone decides.
  if (holder.boot != self.boot && !holder.boot.empty() && !self.boot.empty()) return true;
  return now > until || !may_be_alive(holder.process);
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> buffer{};
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {buffer.data(), size};
}

}  // namespace hylas::db
