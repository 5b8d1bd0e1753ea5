// parse_layout(): the layout grammar (layout.hpp) read left to right with an explicit stack, so that no text, however
// hostile, makes it recurse or hold more than 17 x 1024 layers: every group adds at least one layer and the limit of
// 1024 is checked before anything is repeated.
#include <charconv>
#include <cstddef>
#include <limits>

#include "model/design/layout.hpp"

namespace hylas::model {
namespace {

constexpr std::size_t kMaxLayers = 1024;
constexpr std::size_t kMaxNesting = 16;
constexpr std::int64_t kMaxCount = 1024;
constexpr std::int64_t kMaxWindow = std::numeric_limits<std::int32_t>::max();
constexpr std::string_view kLayerWords = "a layer (full, swa:WINDOW, gdn, mamba2, lightning) or '('";

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// A piece of the text as a message shows it: cut to 40 bytes, anything unprintable as '?'.
std::string quoted(std::string_view piece) {
  constexpr std::size_t kShown = 40;
  std::string shown = "'";
  for (const char c : piece.substr(0, kShown)) shown += c < 0x20 || c == 0x7f ? '?' : c;
  return shown + (piece.size() > kShown ? "...'" : "'");
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Layout parse() {
    skip_blanks();
    while (true) {
      if (peek() == '(') {
        open();
        continue;  // after '(' comes a group again
      }
      const std::size_t begin = at_;
      append({layer()}, begin);
      while (true) {  // after a group: a blank and the next group, or the end of the enclosing one
        const bool blank = skip_blanks();
        if (at_end()) return finish();
        if (peek() == ')') {
          close();
          continue;
        }
        if (!blank) fail(at_, "expected a blank, '*', '/' or ')'", rest_of_word());
        break;
      }
    }
  }

 private:
  struct Frame {
    std::vector<Layer> layers;
    std::size_t opened_at = 0;  // of its '('
  };

  [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
  [[nodiscard]] char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool skip_blanks() {
    const std::size_t begin = at_;
    while (!at_end() && is_blank(text_[at_])) ++at_;
    return at_ > begin;
  }

  // From here to the next blank or bracket: what a message shows.
  [[nodiscard]] std::string_view rest_of_word(std::size_t from) const {
    std::size_t end = from;
    while (end < text_.size() && !is_blank(text_[end]) && text_[end] != '(' && text_[end] != ')') ++end;
    if (end == from && end < text_.size()) ++end;
    return text_.substr(from, end - from);
  }
  [[nodiscard]] std::string_view rest_of_word() const { return rest_of_word(at_); }

  // A name: up to anything that the grammar gives a meaning.
  std::string_view name() {
    const std::size_t begin = at_;
    while (!at_end() && !is_blank(text_[at_]) && std::string_view("()*/:").find(text_[at_]) == std::string_view::npos)
      ++at_;
    return text_.substr(begin, at_ - begin);
  }

  [[noreturn]] void fail(std::size_t at, const std::string& what, std::string_view found,
                         const std::string& hint = "") {
    std::size_t line = 1;
    std::size_t column = 1;
    for (const char c : text_.substr(0, at)) {
      if (c == '\n') {
        ++line;
        column = 1;
      } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {  // UTF-8 continuation bytes take no column
        ++column;
      }
    }
    throw InputError("layout, line " + std::to_string(line) + ", column " + std::to_string(column) + ": " + what +
                     ", found " + (found.empty() ? std::string("the end of the text") : quoted(found)) +
                     (hint.empty() ? "" : "; " + hint));
  }

  void open() {
    if (stack_.size() > kMaxNesting) {
      fail(at_, "brackets nest at most " + std::to_string(kMaxNesting) + " deep", rest_of_word());
    }
    stack_.push_back({{}, at_});
    ++at_;
    skip_blanks();
  }

  void close() {
    if (stack_.size() == 1) fail(at_, "this ')' closes nothing; expected a layer or the end", rest_of_word());
    ++at_;
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    append(frame.layers, frame.opened_at);
  }

  Layout finish() {
    if (stack_.size() > 1) {
      const std::size_t opened = stack_.back().opened_at;
      fail(opened, "this '(' is never closed; expected ')'", text_.substr(opened));
    }
    return {std::move(stack_.back().layers)};
  }

  // Reads an optional "*count" and puts that many copies of the group that began at `begin` into the enclosing one.
  void append(const std::vector<Layer>& group, std::size_t begin) {
    std::size_t count = 1;
    if (peek() == '*') {
      ++at_;
      count = static_cast<std::size_t>(number("a count", kMaxCount));
    }
    std::vector<Layer>& layers = stack_.back().layers;
    if (layers.size() + group.size() * count > kMaxLayers) {
      fail(begin,
           "a layout has at most " + std::to_string(kMaxLayers) + " layers, here it would have " +
               std::to_string(layers.size() + group.size() * count) + " or more",
           rest_of_word(begin));
    }
    for (std::size_t i = 0; i < count; ++i) layers.insert(layers.end(), group.begin(), group.end());
  }

  // 1..max, digits alone, no leading zero.
  std::int64_t number(const std::string& what, std::int64_t max) {
    const std::string expected = "expected " + what + " from 1 to " + std::to_string(max);
    const std::size_t begin = at_;
    while (!at_end() && is_digit(text_[at_])) ++at_;
    if (at_ == begin) fail(begin, expected, begin < text_.size() ? rest_of_word(begin) : "");
    const std::string_view digits = text_.substr(begin, at_ - begin);
    if (digits[0] == '0') fail(begin, expected + ", without leading zeros", digits);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || value > max) fail(begin, expected, digits);
    return value;
  }

  Layer layer() {
    Layer result;
    result.mixer = mixer();
    if (result.mixer == Mixer::swa) {
      if (peek() != ':') fail(at_, "expected ':' and a window after swa, as in swa:128", rest_of_word());
      ++at_;
      result.window = static_cast<std::int32_t>(number("a window", kMaxWindow));
    } else if (peek() == ':') {
      fail(at_, std::string(name_of(result.mixer)) + " takes no window (only swa does)", rest_of_word());
    }
    bool nope = false;
    while (peek() == '/') attribute(result, nope);
    result.rope = is_attention(result.mixer) && !nope;
    return result;
  }

  Mixer mixer() {
    const std::size_t begin = at_;
    const std::string_view word = name();
    std::vector<std::string> names;
    for (const Mixer m : {Mixer::full, Mixer::swa, Mixer::gdn, Mixer::mamba2, Mixer::lightning}) {
      if (word == name_of(m)) return m;
      names.emplace_back(name_of(m));
    }
    std::string meant = nearest(word, names);
    if (word.starts_with("swa") && word.size() > 3 && is_digit(word[3]))
      meant = "swa:" + std::string(word.substr(3, 12));
    if (word.empty() && peek() == '*') {
      fail(begin, "expected " + std::string(kLayerWords) + " right before '*', without a blank", rest_of_word());
    }
    fail(begin, "expected " + std::string(kLayerWords), begin < text_.size() ? rest_of_word(begin) : "",
         meant.empty() ? "" : "did you mean '" + meant + "'?");
  }

  void attribute(Layer& layer, bool& nope) {
    ++at_;  // the '/'
    const std::size_t begin = at_;
    const std::string_view word = name();
    const bool is_nope = word == "nope";
    if (!is_nope && word != "sink") {
      const std::string meant = nearest(word, {"nope", "sink"});
      fail(begin, "expected an attribute (nope, sink)", begin < text_.size() ? rest_of_word(begin) : "",
           meant.empty() ? "" : "did you mean '" + meant + "'?");
    }
    bool& seen = is_nope ? nope : layer.sink;
    if (seen) fail(begin, "the attribute " + std::string(word) + " stands twice on one layer", rest_of_word(begin));
    if (!is_nope && !is_attention(layer.mixer)) {
      fail(begin, "a sink needs attention (full or swa); " + std::string(name_of(layer.mixer)) + " has no softmax",
           rest_of_word(begin));
    }
    seen = true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Frame> stack_ = std::vector<Frame>(1);
};

}  // namespace

Layout parse_layout(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace hylas::model
