// Shell completion read off a CLI11 program: the tree of its subcommands, options, choices and positionals as they were
// declared, handed to search/report/completion.hpp. Hidden ones (an empty group) and disabled ones are left out.
// Inline, so that tests need only CLI11's headers.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "search/report/completion.hpp"

namespace hylas::cli {

// CLI11 names a value's type and validators: "TEXT", "INT:INT in [0 - 8]", "TEXT:{a,b}". Choices are words, other text
// may be a file, numbers are neither.
inline search::CompletionValue completion_value(const CLI::Option& option) {
  using Kind = search::CompletionValue::Kind;
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{'), close = type.rfind('}');
  if (open != std::string::npos && close != std::string::npos && close > open) {
    return {Kind::words, CLI::detail::split(type.substr(open + 1, close - open - 1), ',')};
  }
  for (const char* kind : {"TEXT", "FILE", "PATH", "DIR"}) {
    if (type.find(kind) != std::string::npos) return {Kind::files, {}};
  }
  return {};
}

inline std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

inline void add_completion_options(const CLI::App& app, search::CompletionCommand& command) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    search::CompletionOption entry{{}, first_line(option->get_description()), option->get_items_expected_max() > 0, {}};
    for (const std::string& name : option->get_lnames()) entry.names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) entry.names.push_back("-" + name);
    if (entry.takes_value) entry.value = completion_value(*option);
    if (!entry.names.empty()) command.options.push_back(entry);
    if (option->get_positional()) command.positionals.push_back(completion_value(*option));
  }
}

inline search::CompletionCommand completion_tree(const CLI::App& app) {
  search::CompletionCommand command{app.get_name(), first_line(app.get_description()), {}, {}, {}};
  add_completion_options(app, command);
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (child->get_disabled()) continue;
    if (child->get_name().empty()) {
      add_completion_options(*child, command);  // an option group is part of its parent
    } else if (!child->get_group().empty()) {
      command.commands.push_back(completion_tree(*child));
    }
  }
  return command;
}

// shell: bash, zsh or fish; model::InputError for another.
inline std::string completion_script(const CLI::App& app, std::string_view shell) {
  return search::completion_script(completion_tree(app), shell);
}

}  // namespace hylas::cli
