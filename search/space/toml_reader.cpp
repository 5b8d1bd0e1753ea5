// TomlReader, and the guarded call of toml++.
#include "search/space/toml_reader.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace hylas::search {
namespace {

constexpr std::size_t kMostBytes = std::size_t{16} << 20;
constexpr int kMostDots = 7;

std::string message_at(const std::string& file, const Place& place, const std::string& message) {
  return fmt::format("{}:{}:{}: {}", file, place.line, place.column, message);
}

// toml++ makes one nested table for every part of a dotted key without a limit, and destroys them recursively. So dots
// outside strings and comments are counted before it sees the text; any sign that ends a key starts a new count.
void refuse_deep_keys(std::string_view text, const std::string& file) {
  Place place;
  int dots = 0;
  char quote = '\0';    // the quote of the string we are in
  bool triple = false;  // """ or '''
  bool comment = false;
  for (std::size_t i = 0; i < text.size(); ++i, ++place.column) {
    const char c = text[i];
    if (c == '\n') {
      place = {place.line + 1, 0};
      comment = false;
      if (!triple) quote = '\0';
      dots = 0;
    } else if (comment) {
      continue;
    } else if (quote != '\0') {
      if (c == '\\' && quote == '"' && i + 1 < text.size() && text[i + 1] != '\n') {
        ++i, ++place.column;
      } else if (c == quote && (!triple || text.substr(i, 3) == std::string(3, quote))) {
        if (triple) i += 2, place.column += 2;
        quote = '\0';
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      triple = text.substr(i, 3) == std::string(3, c);
      if (triple) i += 2, place.column += 2;
    } else if (c == '#') {
      comment = true;
    } else if (c == '.') {
      if (++dots > kMostDots) throw model::InputError(message_at(file, place, "a key of too many dotted parts"));
    } else if (c == '=' || c == ',' || c == '{' || c == '}') {
      dots = 0;
    }
  }
}

std::string kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return node.as_array()->empty() ? "an empty list" : "a list";
    case toml::node_type::string: return "the string " + in_quotes(node.as_string()->get());
    case toml::node_type::integer: return fmt::format("the whole number {}", node.as_integer()->get());
    case toml::node_type::floating_point: return fmt::format("the number {}", node.as_floating_point()->get());
    case toml::node_type::boolean: return node.as_boolean()->get() ? "true" : "false";
    default: return "a date or time";
  }
}

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShown = 60;
  std::string shown = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  while (text.size() > kShown && !shown.empty() && (static_cast<unsigned char>(shown.back()) & 0x80) != 0) {
    shown.pop_back();  // not half a UTF-8 character
  }
  return shown + (text.size() > kShown ? "...'" : "'");
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& names) {
  const std::string meant = model::nearest(word, names);
  return meant.empty() ? "" : fmt::format("; did you mean {}?", in_quotes(meant));
}

Place begin_of(const toml::source_region& region) {
  return {static_cast<std::int64_t>(region.begin.line), static_cast<std::int64_t>(region.begin.column)};
}

TomlReader::TomlReader(const toml::table& table, std::string path, std::string file, std::vector<std::string> known)
    : table_(&table), path_(std::move(path)), file_(std::move(file)) {
  for (const PlacedText& key : keys()) {
    if (std::find(known.begin(), known.end(), key.text) != known.end()) continue;
    const std::string where = path_.empty() ? "in the file" : "in [" + path_ + "]";
    fail(key.place, fmt::format("unknown key {} {}{}; expected one of: {}", in_quotes(key.text), where,
                                did_you_mean(key.text, known), fmt::join(known, ", ")));
  }
}

std::vector<PlacedText> TomlReader::keys() const {
  std::vector<PlacedText> result;
  for (const auto& [key, node] : *table_) {
    result.push_back({std::string(key.str()), begin_of(key.source())});
  }
  std::stable_sort(result.begin(), result.end(), [](const PlacedText& a, const PlacedText& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
  return result;
}

TomlReader TomlReader::table(const char* key, std::vector<std::string> known) const {
  static const toml::table kEmpty;
  const toml::node* node = find(key);
  if (node != nullptr && !node->is_table()) wrong_type(*node, name_of(key), "a table");
  return {node == nullptr ? kEmpty : *node->as_table(), name_of(key), file_, std::move(known)};
}

TomlReader TomlReader::open_table(const char* key) const {
  std::vector<std::string> names;
  if (const toml::node* node = find(key); node != nullptr && node->is_table()) {
    for (const auto& entry : *node->as_table()) names.emplace_back(entry.first.str());
  }
  return table(key, std::move(names));
}

std::vector<TomlReader> TomlReader::tables(const char* key, const std::vector<std::string>& known) const {
  std::vector<TomlReader> result;
  const toml::node* node = find(key);
  if (node == nullptr) return result;
  if (const toml::table* one = node->as_table()) {
    result.emplace_back(*one, name_of(key), file_, known);
  } else if (const toml::array* several = node->as_array(); several != nullptr && several->is_array_of_tables()) {
    for (const toml::node& element : *several) result.emplace_back(*element.as_table(), name_of(key), file_, known);
  } else {
    wrong_type(*node, name_of(key), "a table or a list of tables");
  }
  return result;
}

std::string TomlReader::name_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

Place TomlReader::place_of(std::string_view dotted_key) const {
  Place place = begin_of(table_->source());
  const toml::table* table = table_;
  while (table != nullptr && !dotted_key.empty()) {
    const std::size_t dot = dotted_key.find('.');
    const std::string_view part = dotted_key.substr(0, dot);
    const auto found = table->find(part);
    if (found == table->end()) break;
    place = begin_of(found->second.is_table() ? found->first.source() : found->second.source());
    table = found->second.as_table();
    dotted_key = dot == std::string_view::npos ? "" : dotted_key.substr(dot + 1);
  }
  return place.line < 1 ? Place{} : place;
}

void TomlReader::fail(const Place& place, const std::string& message) const {
  throw model::InputError(message_at(file_, place, message));
}

void TomlReader::fail_missing(const char* key, const char* example) const {
  fail(place_of(""), fmt::format("{} is missing; write for example: {}", name_of(key), example));
}

void TomlReader::wrong_type(const toml::node& node, const std::string& name, const char* expected) const {
  const Place place = begin_of(node.source());
  fail(place.line < 1 ? Place{} : place, fmt::format("{} must be {}, not {}", name, expected, kind_of(node)));
}

void TomlReader::convert(const toml::node& node, const std::string& name, std::int64_t& value) const {
  if (!node.is_integer()) wrong_type(node, name, "a whole number");
  value = node.as_integer()->get();
}

void TomlReader::convert(const toml::node& node, const std::string& name, double& value) const {
  if (!node.is_number()) wrong_type(node, name, "a number");
  value = node.is_integer() ? static_cast<double>(node.as_integer()->get()) : node.as_floating_point()->get();
}

void TomlReader::convert(const toml::node& node, const std::string& name, bool& value) const {
  if (!node.is_boolean()) wrong_type(node, name, "true or false");
  value = node.as_boolean()->get();
}

void TomlReader::convert(const toml::node& node, const std::string& name, std::string& value) const {
  if (!node.is_string()) wrong_type(node, name, "a string");
  value = node.as_string()->get();
}

void TomlReader::convert(const toml::node& node, const std::string& name, PlacedText& value) const {
  if (!node.is_string() && !node.is_integer()) wrong_type(node, name, "a string or a whole number");
  value = {node.is_string() ? node.as_string()->get() : std::to_string(node.as_integer()->get()),
           begin_of(node.source())};
}

toml::table parse_toml(std::string_view text, const std::string& file) {
  if (text.size() > kMostBytes) throw model::InputError(message_at(file, {}, "a space file of more than 16 MB"));
  refuse_deep_keys(text, file);
  try {
    return toml::parse(text, std::string_view(file));
  } catch (const toml::parse_error& error) {
    const Place place = begin_of(error.source());
    throw model::InputError(message_at(file, place, fmt::format("not valid TOML: {}", error.description())));
  }
}

}  // namespace hylas::search
