// The program: declares the commands, runs the one that was asked for, and maps errors to exit codes.
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>

#include "db/error.hpp"
#include "fitting/input_error.hpp"
#include "model/cohort.hpp"
#include "model/design/input_error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/cli/usage.hpp"

namespace hylas::cli {
namespace {

void add_commands(Program& program) {
  program.app.set_version_flag("--version", "hylas " HYLAS_VERSION);
  program.app.require_subcommand(1);
  program.app.get_formatter()->column_width(28);
  add_demo(program);
  add_init(program);
  add_describe(program);
  add_enumerate(program);
  add_sweep(program);
  add_status(program);
  add_show(program);
  add_results(program);
  add_tasks(program);
  add_probe(program);
  add_findings(program);
  add_fit(program);
  add_recommend(program);
  add_export(program);
  add_bench(program);
  add_completion(program);
}

int fail(int code, const std::string& message) {
  std::fprintf(stderr, "hylas: %s\n", message.c_str());
  return code;
}

int run(int argc, char** argv) {
  Program program(
      "hylas (HYbrid LAyout Search) searches layouts of hybrid language models: it trains small proxies,\n"
      "fits laws of when long-context ability emerges, and recommends designs for a compute budget.");
  add_commands(program);
  try {
    program.app.parse(argc, argv);
    return program.chosen ? program.chosen() : exit_usage;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.app.exit(error);  // --help, --version
    return fail(exit_usage, usage_message(program.app, error));
  } catch (const model::InputError& error) {
    return fail(exit_usage, error.what());
  } catch (const fitting::InputError& error) {
    return fail(exit_usage, error.what());
  } catch (const model::DeviceError& error) {
    return fail(exit_device, error.what());
  } catch (const db::StoreError& error) {
    return fail(error.exit_code(), error.what());
  } catch (const nlohmann::json::exception& error) {  // every JSON that is read here came out of a store
    return fail(exit_store, std::string("the store holds JSON that cannot be read: ") + error.what());
  } catch (const std::bad_alloc&) {
    return fail(exit_error, "out of memory; try fewer trials at once or a smaller context");
  } catch (const std::exception& error) {
    return fail(exit_error, error.what());
  }
}

}  // namespace
}  // namespace hylas::cli

int main(int argc, char** argv) {
  return hylas::cli::run(argc, argv);
}
