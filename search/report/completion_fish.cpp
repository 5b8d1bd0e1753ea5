// The completion script for fish 3: one `complete` a choice, under the condition that its command is the one on the
// line.
#include "search/report/completion.hpp"

namespace hylas::search {
namespace {

std::string quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\\' || c == '\'') result += '\\';
    result += c;
  }
  return result + "'";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// What may follow: -x takes a value and offers no files, -r -F takes one and offers them.
std::string value_flags(const CompletionValue& value) {
  if (value.kind == CompletionValue::Kind::files) return " -r -F";
  if (value.kind == CompletionValue::Kind::none) return " -x";
  return " -x -a " + quoted(joined(value.words));
}

std::string option_line(const std::string& start, const CompletionOption& option) {
  std::string line = start;
  for (const std::string& name : option.names) {
    if (name.starts_with("--")) {
      line += " -l " + quoted(name.substr(2));
    } else {
      line += (name.size() == 2 ? " -s " : " -o ") + quoted(name.substr(1));
    }
  }
  if (option.takes_value) line += value_flags(option.value);
  return line + " -d " + quoted(option.description) + "\n";
}

}  // namespace

std::string fish_completion(const CompletionCommand& program) {
  const std::string at = "_" + function_name(program.name) + "_at";
  std::string walk, lines;
  for_each_command(program, [&](const std::string& path, const CompletionCommand& command) {
    const std::string start = "complete -c " + program.name + " -n " + quoted(at + " " + path);
    for (const CompletionCommand& child : command.commands) {
      walk += "      case " + quoted(path + "/" + child.name) + "\n        set path $path/$word\n";
      lines += start + " -a " + quoted(child.name) + " -d " + quoted(child.description) + "\n";
    }
    for (const CompletionOption& option : command.options) {
      lines += option_line(start, option);
      if (!option.takes_value) continue;
      walk += "      case";
      for (const std::string& name : option.names) walk.append(" ").append(quoted(path + "/" + name));
      walk += "\n        set skip 1\n";
    }
    for (const CompletionValue& value : command.positionals) {
      if (value.kind == CompletionValue::Kind::files) lines += start + " -F\n";
      if (value.kind == CompletionValue::Kind::words) lines += start + " -a " + quoted(joined(value.words)) + "\n";
    }
  });
  std::string text =
      "# fish completion for " + program.name + "; load it with:  " + program.name + " completion fish | source\n";
  text += "function " + at +
          " --description 'whether the command on the line is the given one'\n"
          "  set -l path " +
          program.name +
          "\n"
          "  set -l skip 0\n"
          "  for word in (commandline -opc)[2..-1]\n"
          "    if test $skip = 1\n"
          "      set skip 0\n"
          "      continue\n"
          "    end\n"
          "    switch $path/$word\n" +
          walk +
          "    end\n"
          "  end\n"
          "  test $path = $argv[1]\n"
          "end\n"
          "complete -c " +
          program.name + " -f\n";
  return text + lines;
}

}  // namespace hylas::search
