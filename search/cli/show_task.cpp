// One sequence of a task as text or JSON (see show_task.hpp).
#include "search/cli/show_task.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <numeric>

#include "model/data/task.hpp"
#include "model/design/input_error.hpp"
#include "search/report/table.hpp"

namespace hylas::cli {
namespace {

constexpr std::int64_t kMostShown = 65536, kReachSequences = 1000;
constexpr std::size_t kAnswersShown = 12, kLineColumns = 100;

struct Sequence {
  std::vector<std::int32_t> tokens, targets, distance;
};

model::TaskValue parsed(const model::TaskParameter& parameter, const std::string& text) {
  if (parameter.type() == model::TaskParameter::Type::text) return text;
  const auto number = [&](auto& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      throw model::InputError(
          fmt::format("--set {}: '{}' is no {}", parameter.name, text.substr(0, 40),
                      parameter.type() == model::TaskParameter::Type::whole ? "whole number" : "number"));
    }
    return model::TaskValue(value);
  };
  std::int64_t whole = 0;
  double real = 0;
  return parameter.type() == model::TaskParameter::Type::whole ? number(whole) : number(real);
}

model::TaskSpec spec_of(const ShowTask& options) {
  const model::TaskType& type = model::task_type(options.name);
  std::map<std::string, model::TaskValue> given;
  for (const std::string& entry : options.set) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos) throw model::InputError("--set takes parameter=value, not '" + entry + "'");
    const std::string name = entry.substr(0, equals);
    const auto found = std::find_if(type.parameters.begin(), type.parameters.end(),
                                    [&](const model::TaskParameter& p) { return name == p.name; });
    // An unknown name is refused with the rest.
    given[name] = found == type.parameters.end() ? model::TaskValue(entry.substr(equals + 1))
                                                 : parsed(*found, entry.substr(equals + 1));
  }
  return model::completed(model::task_spec(options.name, given));
}

// A token as it reads: a byte of text, or a number.
std::string shown(std::int32_t token, bool bytes) {
  if (!bytes) return fmt::format("{}", token);
  if (token == '\n') return "\\n";
  if (token == ' ') return "_";
  return token > ' ' && token < 127 ? std::string(1, static_cast<char>(token)) : fmt::format("\\x{:02x}", token);
}

std::string as_text(const model::Task& task, const ShowTask& options, const Sequence& s) {
  const bool bytes = task.spec().name == "text" && task.vocab() == 256;
  std::string text = fmt::format("{}, context {}, {} sequence {}{}\n\n", model::task_json(task.spec()), task.context(),
                                 options.eval ? "evaluation" : "training", options.index,
                                 options.eval ? "" : fmt::format(" of data seed {}", options.data_seed));
  std::size_t width = 1;
  for (const std::int32_t token : s.tokens) width = std::max(width, shown(token, bytes).size());
  const std::size_t each = std::max<std::size_t>(1, (kLineColumns - 8) / (width + 1));
  for (std::size_t first = 0; first < s.tokens.size(); first += each) {
    std::string tokens = fmt::format("{:>6}  ", first), marks(8, ' ');
    for (std::size_t t = first; t < std::min(first + each, s.tokens.size()); ++t) {
      tokens += fmt::format("{:>{}} ", shown(s.tokens[t], bytes), width);
      marks += fmt::format("{:>{}} ", s.distance[t] != 0 ? "^" : s.targets[t] >= 0 ? "." : "", width);
    }
    for (std::string* line : {&tokens, &marks}) text += line->substr(0, line->find_last_not_of(' ') + 1) + "\n";
  }
  const auto scored = s.distance.size() - static_cast<std::size_t>(std::count(s.distance.begin(), s.distance.end(), 0));
  text += fmt::format("\n^ predicts a scored token, . one that is only trained. {} scored:\n", scored);
  std::size_t listed = 0;
  for (std::size_t t = 0; t < s.tokens.size() && listed < kAnswersShown; ++t) {
    if (s.distance[t] == 0) continue;
    ++listed;
    text += fmt::format("  position {} predicts {}", t, shown(s.targets[t], bytes));
    if (s.distance[t] > 0) {
      text += fmt::format(", which stands at {} (distance {})", static_cast<std::int64_t>(t) + 1 - s.distance[t],
                          s.distance[t]);
    }
    text += "\n";
  }
  if (scored > listed) text += fmt::format("  and {} more\n", scored - listed);
  return text;
}

// Shares of scored answers inside the windows 4, 8, ... up to the context, counted over evaluation sequences. A window
// of W sees an answer at a distance of at most W (model/data/task.hpp); two layers of it can pass on what is 2 W - 1
// away.
std::string reach(const model::Task& task, bool json) {
  const auto T = static_cast<std::size_t>(task.context());
  Sequence s{std::vector<std::int32_t>(T), std::vector<std::int32_t>(T), std::vector<std::int32_t>(T)};
  std::int64_t scored = 0;
  std::vector<std::int64_t> at(T + 2, 0);  // answers of each distance
  for (std::int64_t i = 0; i < kReachSequences; ++i) {
    task.sequence(0, model::Split::eval, static_cast<std::uint64_t>(i), s.tokens.data(), s.targets.data(),
                  s.distance.data());
    for (const std::int32_t d : s.distance) {
      scored += d != 0 ? 1 : 0;
      if (d > 0) ++at[static_cast<std::size_t>(d)];
    }
  }
  std::partial_sum(at.begin(), at.end(), at.begin());
  if (at.back() == 0) {
    throw model::InputError(fmt::format("{}: no answer stands in the sequence at context {}, so no window reaches one",
                                        task.spec().name, T));
  }
  const auto share = [&](std::size_t distance) {
    return static_cast<double>(at[std::min(distance, T + 1)]) / static_cast<double>(scored);
  };
  using search::Align;
  search::Table table{.columns = {{"window", Align::right}, {"one layer", Align::right}, {"two layers", Align::right}},
                      .rows = {}};
  nlohmann::ordered_json rows = nlohmann::json::array();
  for (std::size_t window = 4, last = 0; last < T; last = window, window *= 2) {
    const std::size_t W = std::min(window, T);
    table.rows.push_back(
        {fmt::format("{}", W), fmt::format("{:.3f}", share(W)), fmt::format("{:.3f}", share(2 * W - 1))});
    rows.push_back({{"window", W}, {"one_layer", share(W)}, {"two_layers", share(2 * W - 1)}});
  }
  if (json) {
    return nlohmann::ordered_json{{"task", nlohmann::json::parse(model::task_json(task.spec()))},
                                  {"context", T},
                                  {"sequences", kReachSequences},
                                  {"scored", scored},
                                  {"reach", rows}}
        .dump(2);
  }
  return fmt::format(
             "{}, context {}\nShare of the {} scored answers of {} evaluation sequences that windows reach:\n\n",
             model::task_json(task.spec()), T, scored, kReachSequences) +
         search::text_table(table);
}

}  // namespace

std::string show_task(const ShowTask& options, bool json) {
  const model::TaskSpec spec = spec_of(options);
  const std::int64_t context = options.context > 0 ? options.context : model::task_type(options.name).context;
  if (context > kMostShown)
    throw model::InputError(fmt::format("--context must be at most {} to be shown", kMostShown));
  const auto task = model::make_task(spec, context);
  if (options.reach) return reach(*task, json);
  const auto T = static_cast<std::size_t>(context);
  Sequence s{std::vector<std::int32_t>(T), std::vector<std::int32_t>(T), std::vector<std::int32_t>(T)};
  task->sequence(static_cast<std::uint64_t>(options.data_seed), options.eval ? model::Split::eval : model::Split::train,
                 static_cast<std::uint64_t>(options.index), s.tokens.data(), s.targets.data(), s.distance.data());
  if (!json) return as_text(*task, options, s);
  return nlohmann::ordered_json{{"task", nlohmann::json::parse(model::task_json(spec))},
                                {"protocol", model::task_type(spec.name).protocol},
                                {"context", context},
                                {"split", options.eval ? "eval" : "train"},
                                {"index", options.index},
                                {"data_seed", options.data_seed},
                                {"tokens", s.tokens},
                                {"targets", s.targets},
                                {"distance", s.distance}}
      .dump(2);
}

}  // namespace hylas::cli
