// The exit codes that scripts rely on.
#pragma once

namespace hylas::cli {

enum ExitCode : int {
  exit_ok = 0,
  exit_error = 1,
  exit_usage = 2,          // a wrong flag, layout, space file or value
  exit_failed_trials = 3,  // finished, but trials failed
  exit_locked = 4,         // another process holds the store
  exit_store = 5,          // the store is corrupt, foreign or of a newer version
  exit_device = 6,
  exit_interrupted = 75,  // resumable: run the same command again
};

}  // namespace hylas::cli
