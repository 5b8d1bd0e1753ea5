// Token files written by the tests of Corpus, and what it says when it refuses one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "model/data/corpus.hpp"
#include "model/design/input_error.hpp"
#include "tests/catch.hpp"

namespace hylas::model::corpus_test {

using Tokens = std::vector<std::uint32_t>;

template <typename Integer, typename Values>
std::string packed(const Values& values) {
  std::string bytes;
  for (const auto value : values) {
    const auto integer = static_cast<Integer>(value);
    bytes.append(reinterpret_cast<const char*>(&integer), sizeof integer);
  }
  return bytes;
}

// A header as llm.c writes it: 256 int32 words, all but the first three 0.
inline std::string header(std::int32_t magic, std::int32_t version, std::int32_t count) {
  std::vector<std::int32_t> words(256, 0);
  words[0] = magic, words[1] = version, words[2] = count;
  return packed<std::int32_t>(words);
}

inline Tokens random_tokens(std::mt19937_64& random, std::size_t count, std::uint32_t below) {
  Tokens tokens(count);
  for (auto& token : tokens) token = std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random);
  return tokens;
}

// The message of an InputError, "" without one.
template <typename Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

inline void check_contains(const std::string& text, const std::string& part) {
  CAPTURE(text, part);
  CHECK(text.find(part) != std::string::npos);
}

inline std::string refused(const std::filesystem::path& file, CorpusFormat format = CorpusFormat::automatic) {
  return refusal([&] { (void)Corpus(file, format); });
}

}  // namespace hylas::model::corpus_test
