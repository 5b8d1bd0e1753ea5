// hylas tasks [NAME]: what a model can be trained and tested on, and the parameters of each task.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "model/data/task.hpp"
#include "search/cli/command.hpp"
#include "search/cli/exit_code.hpp"
#include "search/report/table.hpp"

namespace hylas::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string name;
};

std::string value_text(const model::TaskValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return "\"" + *text + "\"";
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *whole);
  return fmt::format("{}", std::get<double>(value));
}

nlohmann::ordered_json as_json(const model::TaskType& type) {
  auto parameters = nlohmann::ordered_json::array();
  for (const model::TaskParameter& p : type.parameters) {
    nlohmann::ordered_json entry = {{"name", p.name}, {"meaning", p.meaning}};
    std::visit([&](const auto& v) { entry["default"] = v; }, p.default_value);
    if (p.type() != model::TaskParameter::Type::text) entry["least"] = p.least, entry["most"] = p.most;
    parameters.push_back(entry);
  }
  return {{"name", type.name},
          {"summary", type.summary},
          {"protocol", type.protocol},
          {"context", type.context},
          {"parameters", parameters}};
}

std::string overview() {
  search::Table table;
  table.columns = {{"task"}, {"context", search::Align::right}, {"what"}};
  for (const model::TaskType& type : model::task_types()) {
    table.rows.push_back({type.name, fmt::format("{}", type.context), type.summary});
  }
  return search::text_table(table) +
         "\ncontext: what its source uses, or what suits it. hylas tasks NAME tells a task's parameters, hylas show "
         "task "
         "NAME one of its sequences.\n";
}

// Words of a paragraph in lines of at most `width` columns.
std::string wrapped(const std::string& text, std::size_t width) {
  std::string result, line;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!line.empty() && line.size() + 1 + word.size() > width) result += line + "\n", line.clear();
    line += (line.empty() ? "" : " ") + word;
    at = end + 1;
  }
  return result + line + "\n";
}

std::string details(const model::TaskType& type) {
  search::Table table;
  table.columns = {{"parameter"}, {"default", search::Align::right}, {"range"}, {"meaning"}};
  for (const model::TaskParameter& p : type.parameters) {
    const bool text = p.type() == model::TaskParameter::Type::text;
    table.rows.push_back(
        {p.name, value_text(p.default_value), text ? "" : fmt::format("{} .. {}", p.least, p.most), p.meaning});
  }
  return fmt::format("{}: {}\n\n{}\n{}", type.name, type.summary, wrapped(type.protocol, 100),
                     search::text_table(table));
}

int run(const Options& options) {
  if (!options.name.empty()) {
    const model::TaskType& type = model::task_type(options.name);
    print(options.common.json ? as_json(type).dump(2) : details(type));
    return exit_ok;
  }
  if (!options.common.json) {
    print(overview());
    return exit_ok;
  }
  auto list = nlohmann::ordered_json::array();
  for (const model::TaskType& type : model::task_types()) list.push_back(as_json(type));
  print(list.dump(2));
  return exit_ok;
}

}  // namespace

void add_tasks(Program& program) {
  auto options = std::make_shared<Options>();
  auto* command = add_command(program, program.app, "tasks", "what models are trained and tested on, with parameters",
                              "hylas tasks mqar", options->common, [options] { return run(*options); });
  command->add_option("name", options->name, "one task, in full");
}

}  // namespace hylas::cli
