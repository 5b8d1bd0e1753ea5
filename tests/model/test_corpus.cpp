// Real text: every format round trips from files written here, the split covers the file, and sequences of either part
// begin where corpus.hpp says.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "model/data/xxh64.hpp"
#include "tests/model/test_corpus_files.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::model {
namespace {

using namespace corpus_test;
using test::TempDir;
using enum CorpusFormat;

// All that a corpus says of its tokens, against the tokens that were written.
void check_tokens(const Corpus& corpus, const Tokens& expected, CorpusFormat format, int width) {
  REQUIRE(corpus.size() == static_cast<std::int64_t>(expected.size()));
  CHECK(corpus.format() == format);
  REQUIRE(corpus.width() == width);
  CHECK(reinterpret_cast<std::uintptr_t>(corpus.data()) % static_cast<unsigned>(width) == 0);
  CHECK(corpus.largest() == *std::max_element(expected.begin(), expected.end()));
  std::vector<std::int32_t> copied(expected.size() + 2, -77);  // poisoned, one longer at both ends
  corpus.copy(0, corpus.size(), copied.data() + 1);
  CHECK((copied.front() == -77 && copied.back() == -77));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    std::uint32_t raw = 0;
    std::memcpy(&raw, corpus.data() + i * static_cast<std::size_t>(width), static_cast<std::size_t>(width));
    const auto token = static_cast<std::int32_t>(expected[i]);
    if (corpus.token(static_cast<std::int64_t>(i)) != token || copied[i + 1] != token || raw != expected[i]) ++wrong;
  }
  CHECK(wrong == 0);
  const std::int64_t first = corpus.size() / 3, count = corpus.size() / 2;
  std::vector<std::int32_t> middle(static_cast<std::size_t>(count));
  corpus.copy(first, count, middle.data());
  CHECK(std::equal(middle.begin(), middle.end(), expected.begin() + first));
}

TEST_CASE("Every format gives back the tokens that were written, whatever the length", "[corpus]") {
  const TempDir dir;
  std::mt19937_64 random(20240520);
  for (const std::size_t count : {1, 2, 7, 8, 16, 17, 1023, 1024, 2048, 4096, 4097, 10007}) {
    CAPTURE(count);
    const auto n = static_cast<std::int32_t>(count);
    const Tokens bytes = random_tokens(random, count, 256), small = random_tokens(random, count, 50257),
                 large = random_tokens(random, count, 128256);
    const std::string u8 = packed<std::uint8_t>(bytes), u16 = packed<std::uint16_t>(small),
                      u32 = packed<std::uint32_t>(large);
    check_tokens(Corpus(dir.write("text.txt", u8)), bytes, CorpusFormat::bytes, 1);
    check_tokens(Corpus(dir.write("text.bin", u8), CorpusFormat::bytes), bytes, CorpusFormat::bytes, 1);
    check_tokens(Corpus(dir.write("nano.bin", u16)), small, tokens_u16, 2);
    check_tokens(Corpus(dir.write("nano.tokens", u16), tokens_u16), small, tokens_u16, 2);
    check_tokens(Corpus(dir.write("gpt2.bin", header(20240520, 1, n) + u16)), small, tokens_u16, 2);
    check_tokens(Corpus(dir / "gpt2.bin", tokens_u16), small, tokens_u16, 2);
    check_tokens(Corpus(dir.write("llama.bin", header(20240801, 7, n) + u32)), large, tokens_u32, 4);
    check_tokens(Corpus(dir.write("raw32.bin", u32), tokens_u32), large, tokens_u32, 4);
    // The data's identity is that of the tokens and their width, not of the file around them.
    CHECK(Corpus(dir / "gpt2.bin").identity() == Corpus(dir / "nano.bin").identity());
    CHECK(Corpus(dir / "llama.bin").content_hash() == Corpus(dir / "raw32.bin", tokens_u32).content_hash());
    CHECK(Corpus(dir / "nano.bin").identity() != Corpus(dir / "nano.bin", CorpusFormat::bytes).identity());
  }
}

// The largest token is found wherever it stands: in the fixed blocks, in what follows them, at both ends.
TEST_CASE("The largest token is found at any index, and refused by a vocabulary it does not fit", "[corpus]") {
  const TempDir dir;
  constexpr std::int64_t kCount = 5000;  // two blocks of uint16 and a rest
  for (const std::int64_t at : {0, 1, 2047, 2048, 4095, 4096, 4998, 4999}) {
    Tokens tokens(kCount, 17);
    tokens[static_cast<std::size_t>(at)] = 50256;
    const auto file = dir.write("gpt2.bin", header(20240520, 1, kCount) + packed<std::uint16_t>(tokens));
    const Corpus corpus(file);
    CHECK(corpus.largest() == 50256);
    CHECK_NOTHROW(corpus.check_vocabulary(50257));
    CHECK(refusal([&] { corpus.check_vocabulary(50256); }) ==
          "corpus '" + file.string() + "' holds the token 50256 at index " + std::to_string(at) + " (offset " +
              std::to_string(1024 + 2 * at) +
              "), beyond the vocabulary of 50256; take a vocabulary of at least 50257 (its largest token is 50256), or "
              "check its format");
  }
  const Corpus text(dir.write("latin1.txt", "caf\xe9 \xff"));
  CHECK_NOTHROW(text.check_vocabulary(256));
  check_contains(refusal([&] { text.check_vocabulary(128); }),  // the first offender is named, not the largest
                 "holds the token 233 at index 3 (offset 3), beyond the vocabulary of 128; take a vocabulary of 256");
  CHECK_NOTHROW(Corpus(dir.write("ascii.txt", "plain")).check_vocabulary(128));
}

TEST_CASE("XXH64 agrees with the reference implementation at every kind of length", "[corpus]") {
  // From Python's xxhash 3 (the reference C code) on bytes b[i] = (7 i + floor(i / 256)) mod 256.
  const std::vector<std::pair<std::size_t, std::uint64_t>> known = {
      {0, 0xEF46DB3751D8E999},     {1, 0xE934A84ADB052768},    {3, 0x9FF70A635A6209AB},
      {4, 0xAE5ACDC00A55AC41},     {7, 0xD734A6B26F3DA63E},    {8, 0x87116B3365B924EB},
      {31, 0x0F187C62B1E722B7},    {32, 0x91B0CB0931A8C629},   {33, 0x931B043CF8D65B94},
      {63, 0x219110BF13E2FA26},    {64, 0xBF3052E3445775D0},   {4095, 0x2847C7D5D956F151},
      {4096, 0x2F2095DBB4B78856},  {4097, 0xFC7E07B507689AE4}, {12345, 0xB8A282CCA06BA500},
      {100000, 0xD88605C21700AF94}};
  const TempDir dir;
  std::string bytes(100000, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((7 * i + i / 256) % 256);
  CHECK(Xxh64().finish(nullptr, 0) == known[0].second);
  for (const auto& [length, hash] : known) {
    if (length == 0) continue;
    CAPTURE(length);
    CHECK(Corpus(dir.write("hashed", bytes.substr(0, length))).content_hash() == hash);
  }
  CHECK(Corpus(dir / "hashed").identity() == "bytes[100000]/xxh64:d88605c21700af94");
}

TEST_CASE("The split covers the file once, by nanoGPT's rule", "[corpus]") {
  const TempDir dir;
  // 1,115,394 characters make 1,003,854 and 111,540 (nanoGPT, data/shakespeare_char/prepare.py).
  const Corpus shakespeare(dir.write("shakespeare.txt", std::string(1115394, 'a')));
  CHECK(shakespeare.training() == TokenRange{0, 1003854});
  CHECK(shakespeare.validation() == TokenRange{1003854, 1115394});
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    const auto n = std::uniform_int_distribution<std::int64_t>(1, 3000)(random);
    const double fraction = std::uniform_real_distribution<double>(0, 1)(random);
    const Corpus corpus(dir.write("t", std::string(static_cast<std::size_t>(n), 'a')), automatic, fraction);
    const TokenRange train = corpus.training(), rest = corpus.validation();
    CAPTURE(n, fraction, train.end);
    CHECK((train.begin == 0 && train.end == rest.begin && rest.end == n));
    CHECK(std::abs(static_cast<double>(rest.size()) - fraction * static_cast<double>(n)) < 1 + 1e-9);
  }
  const auto file = dir.write("t", "12345");
  CHECK(Corpus(file, automatic, 0).training() == TokenRange{0, 5});
  CHECK(Corpus(file, automatic, 1).validation() == TokenRange{0, 5});
  for (const double fraction : {-0.1, 1.0001, std::nan(""), std::numeric_limits<double>::infinity()}) {
    check_contains(refusal([&] { (void)Corpus(file, automatic, fraction); }),
                   "the validation fraction of a corpus must be from 0 to 1, not ");
  }
}

TEST_CASE("Training sequences begin anywhere with equal chance, from the first position to the last", "[corpus]") {
  const TempDir dir;
  constexpr std::int64_t kContext = 100, kStarts = 800;  // 900 tokens train; the last sequence takes [799, 900)
  const Corpus corpus(dir.write("t.txt", std::string(1000, 'a')));
  CHECK(corpus.training_starts(kContext) == kStarts);
  CHECK(corpus.training_start(0, kContext) == 0);
  CHECK(corpus.training_start(std::uint64_t{1} << 63, kContext) == kStarts / 2);
  CHECK(corpus.training_start(~std::uint64_t{0}, kContext) == kStarts - 1);
  CHECK(corpus.training_start(~std::uint64_t{0}, kContext) + kContext + 1 == corpus.training().end);

  std::mt19937_64 random(7);
  constexpr int kDraws = 400000;
  std::vector<double> seen(kStarts, 0);
  for (int i = 0; i < kDraws; ++i) seen.at(static_cast<std::size_t>(corpus.training_start(random(), kContext))) += 1;
  const double expected = double{kDraws} / kStarts;
  double chi_square = 0;
  for (const double count : seen) chi_square += (count - expected) * (count - expected) / expected;
  // 799 degrees of freedom: mean 799, standard deviation 40. The draws are fixed, so 5 deviations to either side are
  // where a failure means a wrong distribution (or one too even to be random).
  CHECK(std::abs(chi_square - 799) < 5 * std::sqrt(2 * 799.0));

  CHECK(corpus.training_starts(899) == 1);
  CHECK(corpus.training_start(~std::uint64_t{0}, 899) == 0);
  check_contains(refusal([&] { (void)corpus.training_start(0, 900); }),
                 "is shorter than one context in its training part: 900 tokens (index 0 to 900), but a context of 900 "
                 "takes 900 + 1; lower context, change the validation fraction, or take a longer text");
  CHECK(refusal([&] { (void)corpus.training_starts(0); }) == "context must be at least 1 token, not 0");
  check_contains(refusal([&] { (void)corpus.training_starts(std::numeric_limits<std::int64_t>::max()); }),
                 "is shorter than one context");
}

TEST_CASE("Validation windows lie inside their part, apart from each other and evenly", "[corpus]") {
  const TempDir dir;
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    const auto n = std::uniform_int_distribution<std::int64_t>(20, 5000)(random);
    const Corpus corpus(dir.write("t", std::string(static_cast<std::size_t>(n), 'a')), automatic, 0.5);
    const TokenRange part = corpus.validation();
    const auto T = std::uniform_int_distribution<std::int64_t>(1, part.size() - 1)(random);
    const std::int64_t fits = part.size() / (T + 1);
    const auto S = round % 4 == 0 ? fits : std::uniform_int_distribution<std::int64_t>(1, fits)(random);
    CAPTURE(n, T, S, fits);
    CHECK_NOTHROW(corpus.check_validation(S, T));
    CHECK(corpus.validation_start(0, S, T) == part.begin);
    std::int64_t previous = 0;
    bool good = true;
    for (std::int64_t i = 0; i < S; ++i) {
      const std::int64_t start = corpus.validation_start(i, S, T);
      good = good && start >= part.begin && start + T + 1 <= part.end;
      if (i > 0) good = good && start - previous >= T + 1 && std::abs(start - previous - part.size() / S) <= 1;
      previous = start;
    }
    CHECK(good);
    CHECK(std::abs(part.end - previous - part.size() / S) <= 1);  // the last gap is like the others
  }

  const Corpus corpus(dir.write("t.txt", std::string(1000, 'a')));
  const std::string name = "corpus '" + (dir / "t.txt").string() + "' ";
  CHECK(refusal([&] { corpus.check_validation(10, 10); }) ==
        name +
            "has a validation part of 100 tokens, in which 9 sequences of context 10 (+ 1 target) fit, but "
            "eval.sequences is 10; lower eval.sequences or context, raise the validation fraction, or take a longer "
            "text");
  check_contains(refusal([&] { (void)corpus.validation_start(0, 2, 99); }), "in which 1 sequence of context 99 ");
  check_contains(refusal([&] { corpus.check_validation(1, 100); }),
                 "is shorter than one context in its validation part: 100 tokens (index 900 to 1000), but a context of "
                 "100 takes 100 + 1");
  check_contains(refusal([&] { Corpus(dir / "t.txt", automatic, 0).check_validation(1, 1); }),
                 "in its validation part: 0 tokens");
  for (const std::int64_t sequences : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 31}) {
    CHECK(refusal([&] { corpus.check_validation(sequences, 10); }) ==
          "eval.sequences must be from 1 to 2147483647, not " + std::to_string(sequences));
  }
}

}  // namespace
}  // namespace hylas::model
