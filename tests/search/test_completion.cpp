// Completion scripts: the shells accept them and complete with them what the tree says. Where a shell is not installed,
// its cases say so and check nothing more; bash is everywhere.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "model/design/input_error.hpp"
#include "search/report/completion.hpp"
#include "tests/catch.hpp"
#include "tests/temp_dir.hpp"
#if __has_include(<CLI/CLI.hpp>)
#include "search/cli/completion.hpp"
#endif

namespace hylas::search {
namespace {

using Kind = CompletionValue::Kind;
using Words = std::vector<std::string>;

// Two levels, all kinds of values, and descriptions full of what shells read as syntax.
CompletionCommand example() {
  const CompletionOption help{{"--help", "-h"}, "Print this [help]: it's \"$HOME\" `exit 3` \\ a$(exit 3)b", false, {}};
  const CompletionCommand emergence{"emergence", "times: 'D50'", {help, {{"--level"}, "", true, {}}}, {}, {}};
  const CompletionCommand loss{"loss", "losses", {help, {{"--input"}, "a table", true, {Kind::files, {}}}}, {}, {}};
  const CompletionCommand fit{"fit", "laws [of] emergence", {help}, {}, {emergence, loss}};
  const CompletionCommand sweep{"sweep",
                                "train",
                                {help,
                                 {{"--progress"}, "how", true, {Kind::words, {"jsonl", "none", "text"}}},
                                 {{"--db", "-d"}, "store", true, {Kind::files, {}}},
                                 {{"--dry-run"}, "only say", false, {}}},
                                {{Kind::files, {}}},
                                {}};
  const CompletionCommand shells{"completion", "scripts", {help}, {{Kind::words, {"bash", "fish", "zsh"}}}, {}};
  return {"toy",
          "a toy",
          {help, {{"--config"}, "", true, {Kind::files, {}}}, {{"--version"}, "", false, {}}},
          {},
          {fit, sweep, shells}};
}

using test::TempDir;

struct Output {
  int status = -1;
  std::string text;
};

Output shell(const std::string& command) {
  Output output;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> buffer{};
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) output.text.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

bool installed(const std::string& name) {
  if (shell("command -v " + name).status == 0) return true;
  WARN(name << " is not installed: its script is not tried");
  return false;
}

// Runs a script text in a shell and returns the lines it printed.
Words run(const std::string& interpreter, const std::string& script) {
  const TempDir directory;
  const auto file = directory.path() / "script";
  std::ofstream(file) << script;
  const Output output = shell("cd '" + directory.path().string() + "' && " + interpreter + " '" + file.string() + "'");
  CAPTURE(output.text);
  CHECK(output.status == 0);
  Words lines;
  std::istringstream stream(output.text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// The replies of bash to a line split into words, the cursor at the end of the last.
Words bash(const std::string& script, const Words& line) {
  std::string text = script + "COMP_WORDS=(";
  for (const std::string& word : line) text += " " + shell_quoted(word);
  text +=
      ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_toy\n[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\n' "
      "\"${COMPREPLY[@]}\"\n";
  return run("bash --norc", text);
}

void check_bash(const std::string& script) {
  CHECK(bash(script, {"toy", ""}) == Words{"fit", "sweep", "completion"});
  CHECK(bash(script, {"toy", "s"}) == Words{"sweep"});
  CHECK(bash(script, {"toy", "x"}).empty());
  CHECK(bash(script, {"toy", "--v"}) == Words{"--version"});
  CHECK(bash(script, {"toy", "fit", ""}) == Words{"emergence", "loss"});
  CHECK(bash(script, {"toy", "fit", "loss", "--"}) == Words{"--help", "--input"});
  CHECK(bash(script, {"toy", "fit", "loss", "--input", ""}).empty());  // readline completes files
  CHECK(bash(script, {"toy", "sweep", "--progress", ""}) == Words{"jsonl", "none", "text"});
  CHECK(bash(script, {"toy", "sweep", "--progress", "j"}) == Words{"jsonl"});
  CHECK(bash(script, {"toy", "sweep", "--progress", "="}) == Words{"jsonl", "none", "text"});
  CHECK(bash(script, {"toy", "sweep", "--progress", "=", "n"}) == Words{"none"});
  CHECK(bash(script, {"toy", "sweep", "--progress", "none", "--d"}) == Words{"--db", "--dry-run"});
  CHECK(bash(script, {"toy", "sweep", "-d", "a b", "-"}) ==
        Words{"--help", "-h", "--progress", "--db", "-d", "--dry-run"});
  CHECK(bash(script, {"toy", "completion", ""}) == Words{"bash", "fish", "zsh"});
  // The value of an option is no command, however it is written; a word that is none changes nothing.
  CHECK(bash(script, {"toy", "--config", "sweep", ""}) == Words{"fit", "sweep", "completion"});
  CHECK(bash(script, {"toy", "--config", "=", "sweep", "fit", ""}) == Words{"emergence", "loss"});
  CHECK(bash(script, {"toy", "--help", "$(exit 3)", "fit", ""}) == Words{"emergence", "loss"});
}

TEST_CASE("bash reads its script without complaint and completes what the tree says", "[completion]") {
  REQUIRE(installed("bash"));
  const std::string script = completion_script(example(), "bash");
  CHECK(run("bash -n", script).empty());
  check_bash(script);
}

TEST_CASE("fish reads its script without complaint and completes what the tree says", "[completion]") {
  if (!installed("fish")) return;
  const std::string script = completion_script(example(), "fish");
  CHECK(run("fish --no-execute", script).empty());
  // Each line: what is completed, a tab, its description.
  const auto complete = [&](const std::string& line) {
    Words words;
    for (const std::string& reply : run("fish --no-config", script + "complete -C " + shell_quoted(line) + "\n")) {
      words.push_back(reply.substr(0, reply.find('\t')));
    }
    return words;
  };
  CHECK(complete("toy ") == Words{"completion", "fit", "sweep"});
  CHECK(complete("toy fit ") == Words{"emergence", "loss"});
  CHECK(complete("toy fit loss --") == Words{"--help", "--input"});
  CHECK(complete("toy sweep --progress ") == Words{"jsonl", "none", "text"});
  CHECK(complete("toy sweep --progress=j") == Words{"--progress=jsonl"});
  CHECK(complete("toy sweep --progress none --d") == Words{"--db", "--dry-run"});
  CHECK(complete("toy completion ") == Words{"bash", "fish", "zsh"});
  CHECK(complete("toy --config sweep ") == Words{"completion", "fit", "sweep"});
  CHECK(complete("toy sweep scr") == Words{"script"});  // the file in the directory
  CHECK(complete("toy fit emergence ").empty());
  const Words described = run("fish --no-config", script + "complete -C 'toy --h'\n");
  CHECK(described == Words{"--help\tPrint this [help]: it's \"$HOME\" `exit 3` \\ a$(exit 3)b"});
}

// _arguments and _describe are replaced by functions that print what they are given, so the specifications are seen as
// zsh sees them; completion proper needs a terminal.
TEST_CASE("zsh reads its script without complaint and hands the tree to _arguments", "[completion]") {
  if (!installed("zsh")) return;
  const std::string script = completion_script(example(), "zsh");
  CHECK(run("zsh -n", script).empty());
  const std::string prelude =
      "compdef() { }\n"
      "_arguments() { printf '%s\\n' \"$@\"; state=$next_state }\n"
      "_describe() { printf '%s\\n' \"${(P@)4}\" }\n";
  CHECK(run("zsh -f", prelude + script + "_toy_sweep\n") ==
        Words{"-s", "(--help -h)--help[Print this \\[help\\]\\: it's \"$HOME\" `exit 3` \\\\ a$(exit 3)b]",
              "(--help -h)-h[Print this \\[help\\]\\: it's \"$HOME\" `exit 3` \\\\ a$(exit 3)b]",
              "(--progress)--progress=[how]:value:(jsonl none text)", "(--db -d)--db=[store]:value:_files",
              "(--db -d)-d+[store]:value:_files", "(--dry-run)--dry-run[only say]", "1:value:_files"});
  const Words commands = run("zsh -f", prelude + script + "next_state=command _toy_fit | tail -n 2\n");
  CHECK(commands == Words{"emergence:times\\: 'D50'", "loss:losses"});
  // The rest of the line goes to the subcommand's function.
  const Words rest = run("zsh -f", prelude + script + "words=(loss --in)\nnext_state=rest _toy_fit | tail -n 1\n");
  CHECK(rest == Words{"(--input)--input=[a table]:value:_files"});
}

TEST_CASE("A shell that is not known is refused with the ones that are", "[completion]") {
  CHECK_THROWS_AS(completion_script(example(), ""), model::InputError);
  try {
    (void)completion_script(example(), "bsh");
    FAIL("bsh was accepted");
  } catch (const model::InputError& error) {
    CHECK(std::string(error.what()).find("bash, zsh or fish") != std::string::npos);
    CHECK(std::string(error.what()).find("did you mean bash?") != std::string::npos);
  }
}

#if __has_include(<CLI/CLI.hpp>)
// Proves that the tree is read off the declaration: the same toy, declared with CLI11, completes the same.
TEST_CASE("A program declared with CLI11 completes by its declaration", "[completion]") {
  CLI::App app("a toy\nof two lines", "toy");
  app.set_version_flag("--version", "1");
  std::string text;
  double number = 0;
  bool flag = false;
  app.add_option("--config", text);
  CLI::App* fit = app.add_subcommand("fit", "laws [of] emergence");
  fit->add_subcommand("emergence", "times")->add_option("--level", number, "x")->check(CLI::Range(0.5, 0.9));
  fit->add_subcommand("loss", "losses")->add_option("--input", text, "a table");
  CLI::App* sweep = app.add_subcommand("sweep", "train");
  sweep->add_option("--progress", text, "how")->check(CLI::IsMember({"jsonl", "none", "text"}));
  sweep->add_option("--db,-d", text, "store");
  sweep->add_flag("--dry-run", flag, "only say");
  sweep->add_flag("--secret", flag, "hidden")->group("");
  sweep->add_option("space", text);
  CLI::App* shells = app.add_subcommand("completion", "scripts");
  shells->add_option("shell", text)->check(CLI::IsMember({"bash", "fish", "zsh"}));
  app.add_subcommand("hidden", "not shown")->group("");
  app.add_subcommand("off", "not there")->disabled();

  check_bash(cli::completion_script(app, "bash"));
  const CompletionCommand tree = cli::completion_tree(app);
  CHECK(tree.name == "toy");
  CHECK(tree.description == "a toy");
  REQUIRE(tree.commands.size() == 3);
  const CompletionCommand& level = tree.commands[0].commands[0];
  REQUIRE(level.options.size() == 2);
  CHECK(level.options[1].takes_value);
  CHECK(level.options[1].value.kind == Kind::none);  // a number
  REQUIRE(tree.commands[1].positionals.size() == 1);
  CHECK(tree.commands[1].positionals[0].kind == Kind::files);
  for (const CompletionOption& option : tree.commands[1].options) CHECK(option.names != Words{"--secret"});
}
#endif

}  // namespace
}  // namespace hylas::search
