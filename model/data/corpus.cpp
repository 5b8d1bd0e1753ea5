// Token files, texts and their split (see corpus.hpp).
#include "model/data/corpus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "model/data/xxh64.hpp"
#include "model/design/input_error.hpp"

namespace hylas::model {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

__extension__ using Wide = unsigned __int128;

constexpr std::int64_t kMaxToken = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxSequences = std::numeric_limits<std::int32_t>::max();

// llm.c's headers of token files.
constexpr std::int64_t kHeaderBytes = 1024;
constexpr std::int32_t kFirstLikeMagic = 20240101, kLastLikeMagic = 20241231;
struct TokenHeader {
  std::int32_t magic, version;
  CorpusFormat format;
};
constexpr std::array<TokenHeader, 2> kTokenHeaders = {{
    {20240520, 1, CorpusFormat::tokens_u16},
    {20240801, 7, CorpusFormat::tokens_u32},
}};

constexpr std::array<std::string_view, 4> kFormatNames = {"auto", "bytes", "tokens_u16", "tokens_u32"};

int width_of(CorpusFormat format) {
  if (format == CorpusFormat::tokens_u32) return 4;
  return format == CorpusFormat::tokens_u16 ? 2 : 1;
}

// use(pointer to the first token, as the integer type of its width).
template <typename Use>
auto with_tokens(const std::byte* data, int width, Use use) {
  if (width == 4) return use(reinterpret_cast<const std::uint32_t*>(data));
  if (width == 2) return use(reinterpret_cast<const std::uint16_t*>(data));
  return use(reinterpret_cast<const std::uint8_t*>(data));
}

// What is hashed and searched at once: bytes that stay in the L1 cache between the two.
constexpr std::int64_t kBlockBytes = 4096;

template <typename Token>
Token largest_of_block(const Token* tokens) {
  Token largest = 0;  // a fixed number of rounds: vectorised without a remainder
  for (std::size_t i = 0; i < kBlockBytes / sizeof(Token); ++i) largest = std::max(largest, tokens[i]);
  return largest;
}

struct Scan {
  std::int64_t largest;
  std::uint64_t hash;
};

template <typename Token>
Scan scan_tokens(const Token* tokens, std::int64_t count) {
  constexpr std::int64_t kBlock = kBlockBytes / static_cast<std::int64_t>(sizeof(Token));
  Xxh64 hash;
  Token largest = 0;
  std::int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    hash.stripes(reinterpret_cast<const std::byte*>(tokens + i), kBlockBytes / Xxh64::kStripe);
    largest = std::max(largest, largest_of_block(tokens + i));
  }
  const auto* rest = reinterpret_cast<const std::byte*>(tokens + i);
  const std::int64_t rest_bytes = (count - i) * static_cast<std::int64_t>(sizeof(Token));
  const std::int64_t stripes = rest_bytes / Xxh64::kStripe;
  hash.stripes(rest, stripes);
  for (; i < count; ++i) largest = std::max(largest, tokens[i]);
  return {largest, hash.finish(rest + stripes * Xxh64::kStripe, rest_bytes - stripes * Xxh64::kStripe)};
}

// "1 byte", "2 bytes".
std::string counted(std::int64_t count, std::string_view unit) {
  return fmt::format("{} {}{}", count, unit, count == 1 ? "" : "s");
}

void check_context(std::int64_t context) {
  if (context < 1) throw InputError(fmt::format("context must be at least 1 token, not {}", context));
}

}  // namespace

CorpusFormat corpus_format(std::string_view name) {
  const auto* found = std::find(kFormatNames.begin(), kFormatNames.end(), name);
  if (found != kFormatNames.end()) return static_cast<CorpusFormat>(found - kFormatNames.begin());
  const std::string meant = nearest(name, {kFormatNames.begin(), kFormatNames.end()});
  throw InputError(fmt::format("the corpus format '{}' is none of auto, bytes, tokens_u16, tokens_u32{}", name,
                               meant.empty() ? "" : "; did you mean '" + meant + "'?"));
}

std::string_view corpus_format_name(CorpusFormat format) {
  return kFormatNames.at(static_cast<std::size_t>(format));
}

Corpus::Corpus(const std::filesystem::path& file, CorpusFormat format, double validation)
    : path_(file), map_("corpus", file) {
  if (!(validation >= 0 && validation <= 1)) {
    throw InputError(fmt::format("the validation fraction of a corpus must be from 0 to 1, not {}", validation));
  }
  if (map_.size() == 0) refuse("is empty (0 bytes); name a file that holds text or tokens");
  read_header(format);
  scan();
  split_ = std::min(size_, static_cast<std::int64_t>(std::floor(static_cast<double>(size_) * (1 - validation))));
}

void Corpus::refuse(std::string_view problem) const {
  throw InputError(fmt::format("corpus '{}' {}", path_.string(), problem));
}

// Finds format_, width_, header_bytes_ and size_.
void Corpus::read_header(CorpusFormat asked) {
  const bool by_name = asked == CorpusFormat::automatic;
  format_ = asked;
  if (by_name) format_ = path_.filename().string().ends_with(".bin") ? CorpusFormat::tokens_u16 : CorpusFormat::bytes;
  width_ = width_of(format_);
  size_ = map_.size() / width_;
  if (format_ == CorpusFormat::bytes) return;

  std::array<std::int32_t, 3> words = {};  // magic, version, number of tokens
  std::memcpy(words.data(), map_.data(), static_cast<std::size_t>(std::min<std::int64_t>(map_.size(), sizeof words)));
  const auto* header = std::find_if(kTokenHeaders.begin(), kTokenHeaders.end(),
                                    [&](const TokenHeader& known) { return known.magic == words[0]; });
  if (header == kTokenHeaders.end()) {
    if (by_name && map_.size() >= 4 && words[0] >= kFirstLikeMagic && words[0] <= kLastLikeMagic) {
      refuse(
          fmt::format("opens with {} at offset 0, like a header of llm.c, but its token files open with 20240520 "
                      "(uint16) or 20240801 (uint32){}; name a token file, or give the format tokens_u16 if this is "
                      "one without a header",
                      words[0], words[0] == 20240522 ? ", and 20240522 marks a multiple-choice evaluation file" : ""));
    }
    if (map_.size() % width_ != 0) {
      refuse(
          fmt::format("has {}, no whole number of {}-byte tokens ({}): {} too many from offset {} on; it may be "
                      "truncated: write it again, or give its format (bytes, tokens_u16, tokens_u32)",
                      counted(map_.size(), "byte"), width_, corpus_format_name(format_),
                      counted(map_.size() % width_, "byte"), size_ * width_));
    }
    return;
  }

  const std::string magic = fmt::format("opens with llm.c's magic {}", words[0]);
  if (map_.size() < kHeaderBytes) {
    refuse(fmt::format("{}, but is truncated: it ends at offset {}, inside the header of {} bytes; write it again",
                       magic, map_.size(), kHeaderBytes));
  }
  if (words[1] != header->version) {
    refuse(
        fmt::format("{}, but its version (offset 4) is {}, and only version {} is known; write it again with a "
                    "current llm.c",
                    magic, words[1], header->version));
  }
  if (!by_name && asked != header->format) {
    refuse(fmt::format("{}, which is the format {}, but {} was asked for; leave the format at auto", magic,
                       corpus_format_name(header->format), corpus_format_name(asked)));
  }
  format_ = header->format;
  width_ = width_of(format_);
  header_bytes_ = kHeaderBytes;
  size_ = words[2];
  if (size_ <= 0) refuse(fmt::format("{}, but its header (offset 8) says {} tokens; write it again", magic, size_));
  const std::int64_t expected = kHeaderBytes + size_ * width_;
  if (map_.size() != expected) {
    refuse(fmt::format("{}, and its header (offset 8) says {}, which makes {}, but it has {}: it is {}; write it again",
                       magic, counted(size_, "token"), counted(expected, "byte"), counted(map_.size(), "byte"),
                       map_.size() < expected ? "truncated" : "longer than its header says"));
  }
}

// One pass over the file: largest_ and hash_.
void Corpus::scan() {
  const Scan found = with_tokens(data(), width_, [&](const auto* tokens) { return scan_tokens(tokens, size_); });
  largest_ = found.largest;
  hash_ = found.hash;
  if (largest_ > kMaxToken) {
    const std::int64_t at = first_above(kMaxToken);
    const auto value = with_tokens(data(), width_, [&](const auto* tokens) { return std::int64_t{tokens[at]}; });
    refuse(
        fmt::format("holds the token {} at index {} (offset {}), over the largest possible, {}; is this a file of "
                    "uint32 tokens?",
                    value, at, header_bytes_ + at * width_, kMaxToken));
  }
}

std::int64_t Corpus::first_above(std::int64_t bound) const {
  return with_tokens(data(), width_, [&](const auto* tokens) {
    return std::find_if(tokens, tokens + size_, [&](std::int64_t token) { return token > bound; }) - tokens;
  });
}

std::string Corpus::identity() const {
  return fmt::format("{}[{}]/xxh64:{:016x}", corpus_format_name(format_), size_, hash_);
}

std::int32_t Corpus::token(std::int64_t i) const {
  assert(i >= 0 && i < size_);
  return with_tokens(data(), width_, [&](const auto* tokens) { return static_cast<std::int32_t>(tokens[i]); });
}

void Corpus::copy(std::int64_t first, std::int64_t count, std::int32_t* out) const {
  assert(first >= 0 && count >= 0 && count <= size_ - first);
  with_tokens(data(), width_, [&](const auto* tokens) {
    std::transform(tokens + first, tokens + first + count, out, [](auto t) { return static_cast<std::int32_t>(t); });
  });
}

void Corpus::check_vocabulary(std::int64_t vocab) const {
  if (largest_ < vocab) return;
  const std::int64_t at = first_above(vocab - 1);
  const std::string advice = format_ == CorpusFormat::bytes
                                 ? "take a vocabulary of 256, which holds every byte"
                                 : fmt::format(
                                       "take a vocabulary of at least {} (its largest token is {}), or check "
                                       "its format",
                                       largest_ + 1, largest_);
  refuse(fmt::format("holds the token {} at index {} (offset {}), beyond the vocabulary of {}; {}", token(at), at,
                     header_bytes_ + at * width_, vocab, advice));
}

void Corpus::check_part(std::string_view part, const TokenRange& range, std::int64_t context) const {
  check_context(context);
  if (range.size() > context) return;
  refuse(
      fmt::format("is shorter than one context in its {} part: {} (index {} to {}), but a context of {} takes {} + "
                  "1; lower context, change the validation fraction, or take a longer text",
                  part, counted(range.size(), "token"), range.begin, range.end, context, context));
}

std::int64_t Corpus::training_starts(std::int64_t context) const {
  check_part("training", training(), context);
  return training().size() - context;
}

std::int64_t Corpus::training_start(std::uint64_t random, std::int64_t context) const {
  const auto starts = static_cast<Wide>(training_starts(context));
  return training().begin + static_cast<std::int64_t>((random * starts) >> 64);
}

void Corpus::check_validation(std::int64_t sequences, std::int64_t context) const {
  check_part("validation", validation(), context);
  if (sequences < 1 || sequences > kMaxSequences) {
    throw InputError(fmt::format("eval.sequences must be from 1 to {}, not {}", kMaxSequences, sequences));
  }
  const std::int64_t fits = validation().size() / (context + 1);
  if (sequences <= fits) return;
  refuse(
      fmt::format("has a validation part of {}, in which {} of context {} (+ 1 target) fit, but eval.sequences is "
                  "{}; lower eval.sequences or context, raise the validation fraction, or take a longer text",
                  counted(validation().size(), "token"), counted(fits, "sequence"), context, sequences));
}

std::int64_t Corpus::validation_start(std::int64_t i, std::int64_t sequences, std::int64_t context) const {
  check_validation(sequences, context);
  assert(i >= 0 && i < sequences);
  const std::int64_t whole = validation().size() / sequences, rest = validation().size() % sequences;
  return validation().begin + i * whole + i * rest / sequences;  // floor(i V / S) without overflow: rest < S < 2^31
}

}  // namespace hylas::model
