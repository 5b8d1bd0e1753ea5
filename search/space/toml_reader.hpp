// TomlReader: one TOML table read key by key into plain variables. Unknown keys and wrong types are InputErrors
// "file:line:column: what is wrong, what was expected, the nearest valid name". Only search/space/*.cpp include this
// file.
#pragma once

// toml++ 3.3 asserts that a table's name begins as a key may, before it checks that (`[)x]`). The check that follows
// makes a proper error, so builds with assertions must not stop at the assertion.
#define TOML_ASSERT(expr) static_cast<void>(0)
#include <toml++/toml.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/design/input_error.hpp"

namespace hylas::search {

struct Place {
  std::int64_t line = 1, column = 1;
};

// A string and where it stands, for errors that are found later.
struct PlacedText {
  std::string text;
  Place place;
};

// At most 60 bytes of what a person wrote, in quotes, control characters as '?'.
[[nodiscard]] std::string in_quotes(std::string_view text);
[[nodiscard]] std::string did_you_mean(std::string_view word, const std::vector<std::string>& names);

class TomlReader {
 public:
  // `path` names the table in messages ("recipe.schedule"; "" for the whole file). A key outside `known` throws here.
  TomlReader(const toml::table& table, std::string path, std::string file, std::vector<std::string> known);

  [[nodiscard]] bool has(std::string_view key) const { return table_->contains(key); }
  // Fills `value`; leaves it as it is where the key is absent (optional) or throws (required).
  template <class T>
  void optional(const char* key, T& value) const {
    if (const toml::node* node = find(key)) convert(*node, name_of(key), value);
  }
  template <class T>
  void required(const char* key, T& value, const char* example) const {
    if (!has(key)) fail_missing(key, example);
    optional(key, value);
  }
  // The table under `key`; an empty one where there is none.
  [[nodiscard]] TomlReader table(const char* key, std::vector<std::string> known) const;
  // The tables under `key`: [key] or [[key]], none where there is none.
  [[nodiscard]] std::vector<TomlReader> tables(const char* key, const std::vector<std::string>& known) const;
  // All keys with their places, in the order of the file.
  [[nodiscard]] std::vector<PlacedText> keys() const;
  // The table under `key` where any name is a key.
  [[nodiscard]] TomlReader open_table(const char* key) const;
  [[nodiscard]] bool is_list(const char* key) const { return has(key) && find(key)->is_array(); }

  // Where "schedule.kind" stands, or as much of that path as exists, or the table itself.
  [[nodiscard]] Place place_of(std::string_view dotted_key) const;
  [[noreturn]] void fail(const Place& place, const std::string& message) const;
  // An InputError thrown by `f` becomes one of this file. Its first word is the key it is about, which gives the place;
  // where the word is no key of this table, it is looked for in the one called `otherwise`.
  template <class F>
  auto placed(const std::string& prefix, const F& f, std::string_view otherwise = "") const {
    try {
      return f();
    } catch (const model::InputError& error) {
      const std::string_view message = error.what();
      const std::string_view word = message.substr(0, message.find_first_of(" :"));
      const bool here = otherwise.empty() || has(word.substr(0, word.find('.')));
      fail(place_of(here ? std::string(word) : std::string(otherwise) + "." + std::string(word)),
           prefix + error.what());
    }
  }
  // The same with a known place.
  template <class F>
  auto placed_at(const Place& place, const std::string& prefix, const F& f) const {
    try {
      return f();
    } catch (const model::InputError& error) {
      fail(place, prefix + error.what());
    }
  }

 private:
  [[nodiscard]] const toml::node* find(std::string_view key) const { return table_->get(key); }
  [[nodiscard]] std::string name_of(std::string_view key) const;
  [[noreturn]] void fail_missing(const char* key, const char* example) const;
  [[noreturn]] void wrong_type(const toml::node& node, const std::string& name, const char* expected) const;

  void convert(const toml::node& node, const std::string& name, std::int64_t& value) const;
  void convert(const toml::node& node, const std::string& name, double& value) const;
  void convert(const toml::node& node, const std::string& name, bool& value) const;
  void convert(const toml::node& node, const std::string& name, std::string& value) const;
  void convert(const toml::node& node, const std::string& name, PlacedText& value) const;  // a string or a whole number
  template <class T>
  void convert(const toml::node& node, const std::string& name, std::vector<T>& values) const {
    const toml::array* array = node.as_array();
    if (array == nullptr) wrong_type(node, name, "a list [...]");
    if (array->empty()) wrong_type(node, name, "a list with at least one element");
    values.clear();
    values.reserve(array->size());
    for (const toml::node& element : *array) {
      values.emplace_back();
      convert(element, "an element of " + name, values.back());
    }
  }

  const toml::table* table_;
  std::string path_;
  std::string file_;
};

[[nodiscard]] Place begin_of(const toml::source_region& region);

// Parses a whole file. Throws InputError with the parser's position. Refuses keys of more than 8 dotted parts (deep
// tables would exhaust the stack) and more than 16 MB.
[[nodiscard]] toml::table parse_toml(std::string_view text, const std::string& file);

}  // namespace hylas::search
