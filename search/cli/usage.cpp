// See usage.hpp.
#include "search/cli/usage.hpp"

#include <vector>

#include "model/design/input_error.hpp"

namespace hylas::cli {
namespace {

// The innermost subcommand that was named, e.g. `bench train`.
const CLI::App* deepest(const CLI::App* app) {
  const auto parsed = app->get_subcommands();
  return parsed.empty() ? app : deepest(parsed.front());
}

std::string path_of(const CLI::App* app) {
  const auto* parent = app->get_parent();
  return parent == nullptr ? app->get_name() : path_of(parent) + " " + app->get_name();
}

std::vector<std::string> valid_names(const CLI::App* app, bool options) {
  std::vector<std::string> names;
  if (options) {
    for (const auto* option : app->get_options()) {
      for (const auto& name : option->get_lnames()) names.push_back("--" + name);
    }
  } else {
    for (const auto* sub : app->get_subcommands([](const CLI::App*) { return true; })) names.push_back(sub->get_name());
  }
  return names;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::string usage_message(const CLI::App& app, const CLI::ParseError& error) {
  const auto* command = deepest(&app);
  std::string message = error.what();
  const auto unknown = app.remaining(true);
  const auto commands = valid_names(command, false);
  if (!unknown.empty()) {
    const auto word = unknown.front().substr(0, unknown.front().find('='));
    const bool option = word.starts_with('-');
    message =
        "'" + word + "' is not " + (option || commands.empty() ? "an option" : "a command") + " of " + path_of(command);
    if (!option && commands.empty()) message = path_of(command) + " takes no further argument '" + word + "'";
    const auto guess = model::nearest(word, valid_names(command, option));
    if (guess == word) {
      message = "'" + word + "' belongs after " + path_of(command) + ", not before it";
    } else if (!guess.empty()) {
      message += "; did you mean '" + guess + "'?";
    } else if (!option && !commands.empty()) {
      message += "; it takes one of: " + join(commands);
    }
  } else if (!commands.empty() && command->get_subcommands().empty()) {
    message = path_of(command) + " needs a command: " + join(commands);
  }
  return message + "\nsee: " + path_of(command) + " --help";
}

}  // namespace hylas::cli
