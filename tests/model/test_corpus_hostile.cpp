// Files that are no corpus: each fault is refused for what it is, and damaged token files do no harm.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tests/model/test_corpus_files.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::model {
namespace {

using namespace corpus_test;
using test::TempDir;
using enum CorpusFormat;

class AsNobody {  // root may read everything: give that up for a while
 public:
  AsNobody() : was_root_(::geteuid() == 0) {
    if (was_root_) REQUIRE(::seteuid(65534) == 0);
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() {
    if (was_root_ && ::seteuid(0) != 0) std::abort();
  }

 private:
  bool was_root_;
};

TEST_CASE("What is not a readable file is refused with the reason", "[corpus]") {
  const TempDir dir;
  const std::string at = "corpus '" + dir.path().string();
  CHECK(refused(dir / "absent.txt") == at + "/absent.txt' does not exist; check the path");
  CHECK(refused(dir.path()) == at + "' is a directory; name one file in it");
  CHECK(refused(dir.write("empty.txt", "")) ==
        at + "/empty.txt' is empty (0 bytes); name a file that holds text or tokens");
  check_contains(refused(dir.write("empty.bin", "")), "is empty");
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK(refused(dir / "pipe") ==
        at + "/pipe' is not a regular file and cannot be memory-mapped; write its content to a file first");
  check_contains(refused("/dev/zero"), "is not a regular file");
  check_contains(refused(dir / "empty.txt/below"), "cannot be opened: Not a directory; check the path");
  REQUIRE(::chmod(dir.write("secret.txt", "secret").c_str(), 0) == 0);
  std::string message;
  {
    const AsNobody nobody;
    message = refused(dir / "secret.txt");
  }
  CHECK(message == at + "/secret.txt' cannot be opened: Permission denied; check the path and its permissions");
  CHECK(refusal([] { (void)corpus_format("token_u16"); }) ==
        "the corpus format 'token_u16' is none of auto, bytes, tokens_u16, tokens_u32; did you mean 'tokens_u16'?");
  for (const auto format : {automatic, CorpusFormat::bytes, tokens_u16, tokens_u32}) {
    CHECK(corpus_format(corpus_format_name(format)) == format);
  }
}

TEST_CASE("Token files that are cut, odd or mislabelled are refused for what they are", "[corpus]") {
  const TempDir dir;
  const auto message = [&](const std::string& bytes, CorpusFormat format = automatic) {
    const auto file = dir.write("t.bin", bytes);
    const std::string text = refused(file, format), start = "corpus '" + file.string() + "' ";
    REQUIRE(text.starts_with(start));
    return text.substr(start.size());
  };
  const std::string twelve(12, '\1');
  CHECK(message(twelve + "x") ==
        "has 13 bytes, no whole number of 2-byte tokens (tokens_u16): 1 byte too many from offset 12 on; it may be "
        "truncated: write it again, or give its format (bytes, tokens_u16, tokens_u32)");
  check_contains(message("x"), "has 1 byte, no whole number of 2-byte tokens");
  check_contains(message(twelve + "xyz", tokens_u32),
                 "has 15 bytes, no whole number of 4-byte tokens (tokens_u32): 3 bytes too many from offset 12 on");
  const std::string gpt2 = header(20240520, 1, 6), llama = header(20240801, 7, 3);
  for (const std::size_t length : {4, 5, 12, 1023}) {
    CHECK(message(gpt2.substr(0, length)) == "opens with llm.c's magic 20240520, but is truncated: it ends at offset " +
                                                 std::to_string(length) +
                                                 ", inside the header of 1024 bytes; write it again");
  }
  CHECK(
      message(gpt2 + twelve.substr(1)) ==
      "opens with llm.c's magic 20240520, and its header (offset 8) says 6 tokens, which makes 1036 bytes, but it has "
      "1035 bytes: it is truncated; write it again");
  check_contains(message(llama + twelve + "more"),
                 "says 3 tokens, which makes 1036 bytes, but it has 1040 bytes: it is longer than its header says");
  CHECK(message(header(20240520, 1, 0)) ==
        "opens with llm.c's magic 20240520, but its header (offset 8) says 0 tokens; write it again");
  check_contains(message(header(20240801, 7, -6) + twelve), "says -6 tokens");
  check_contains(message(header(20240801, 7, 2147483647) + twelve), "which makes 8589935612 bytes");
  CHECK(
      message(header(20240520, 2, 6) + twelve) ==
      "opens with llm.c's magic 20240520, but its version (offset 4) is 2, and only version 1 is known; write it again "
      "with a current llm.c");
  check_contains(message(header(20240801, 1, 3) + twelve), "is 1, and only version 7 is known");
  CHECK(message(gpt2 + twelve, tokens_u32) ==
        "opens with llm.c's magic 20240520, which is the format tokens_u16, but tokens_u32 was asked for; leave the "
        "format at auto");
  check_contains(message(header(20240522, 1, 6) + twelve),
                 "opens with 20240522 at offset 0, like a header of llm.c, but its token files open with 20240520 "
                 "(uint16) or 20240801 (uint32), and 20240522 marks a multiple-choice evaluation file; name a token "
                 "file, or give the format tokens_u16");
  for (const std::int32_t magic : {20240101, 20241231}) {
    check_contains(message(header(magic, 1, 6) + twelve), "like a header of llm.c");
  }
  CHECK(Corpus(dir / "t.bin", tokens_u16).size() == 518);  // asked for by name, it is 518 tokens
  for (const std::int32_t magic : {20240100, 20241232}) {  // no date of 2024: two tokens
    CHECK(Corpus(dir.write("t.bin", header(magic, 1, 6))).size() == 512);
  }
  const std::vector<std::uint32_t> beyond = {1, 2, 0x80000000};
  CHECK(message(packed<std::uint32_t>(beyond), tokens_u32) ==
        "holds the token 2147483648 at index 2 (offset 8), over the largest possible, 2147483647; is this a file of "
        "uint32 tokens?");
  CHECK(Corpus(dir.write("t.bin", packed<std::uint32_t>(std::vector{0x7fffffffU})), tokens_u32).token(0) == 2147483647);
}

// Whether a damaged *.bin file must open, and as what: read anew from the rules of corpus.hpp.
struct Verdict {
  bool opens = false;
  std::size_t width = 2, skip = 0, count = 0;
};
Verdict judge(const std::string& bytes) {
  std::int32_t words[3] = {0, 0, 0};
  if (bytes.empty()) return {};
  std::memcpy(words, bytes.data(), std::min(bytes.size(), sizeof words));
  if (bytes.size() < 4 || words[0] < 20240101 || words[0] > 20241231)
    return {bytes.size() % 2 == 0, 2, 0, bytes.size() / 2};
  const bool gpt2 = words[0] == 20240520 && words[1] == 1, llama = words[0] == 20240801 && words[1] == 7;
  if ((!gpt2 && !llama) || bytes.size() < 1024 || words[2] < 1) return {};
  const std::size_t width = gpt2 ? 2 : 4, count = static_cast<std::size_t>(words[2]);
  if (bytes.size() != 1024 + width * count) return {};
  for (std::size_t i = 0; llama && i < count; ++i) {
    if ((static_cast<unsigned char>(bytes[1024 + 4 * i + 3]) & 0x80U) != 0) return {};  // 2^31 or more
  }
  return {true, width, 1024, count};
}

std::int64_t mapped_pages() {  // all of this process's address space
  std::ifstream file("/proc/self/statm");
  std::int64_t pages = 0;
  file >> pages;
  return pages;
}

TEST_CASE("Ten thousand damaged token files: each opens as the rules say or is refused, nothing is left behind",
          "[corpus][hostile]") {
  const TempDir dir;
  std::mt19937_64 random(20240801);
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  const std::string seeds[] = {header(20240520, 1, 40) + packed<std::uint16_t>(random_tokens(random, 40, 50257)),
                               header(20240801, 7, 40) + packed<std::uint32_t>(random_tokens(random, 40, 128256)),
                               packed<std::uint16_t>(random_tokens(random, 60, 65536))};
  int opened = 0, refused_ones = 0, wrong = 0;
  std::int64_t pages = 0;
  for (int round = 0; round < 10000; ++round) {
    if (round == 100) pages = mapped_pages();  // after the first messages have grown the heap
    std::string bytes = seeds[below(3)];
    for (std::size_t flips = below(4); flips > 0; --flips) {  // most of them in the words that are read
      const std::size_t at = below(3) == 0 ? below(bytes.size()) : below(12);
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
    }
    if (below(8) == 0) {  // a count of any value
      const auto count = static_cast<std::uint32_t>(random());
      std::memcpy(bytes.data() + 8, &count, 4);
    }
    if (below(3) == 0) bytes.resize(below(bytes.size() + 1));
    if (below(8) == 0) bytes.append(1 + below(40), '\7');
    const auto file = dir.write("fuzz.bin", bytes);
    const Verdict verdict = judge(bytes);
    const std::string message = refusal([&] {
      const Corpus corpus(file);
      Tokens expected(verdict.count);
      std::uint32_t largest = 0;
      for (std::size_t i = 0; i < verdict.count; ++i) {
        std::memcpy(&expected[i], bytes.data() + verdict.skip + i * verdict.width, verdict.width);
        largest = std::max(largest, expected[i]);
      }
      std::vector<std::int32_t> got(static_cast<std::size_t>(corpus.size()));
      corpus.copy(0, corpus.size(), got.data());
      wrong += !(corpus.width() == static_cast<int>(verdict.width) && corpus.largest() == largest &&
                 std::equal(got.begin(), got.end(), expected.begin(), expected.end(),
                            [](std::int32_t a, std::uint32_t b) { return a == static_cast<std::int32_t>(b); }));
      ++opened;
    });
    wrong += message.empty() != verdict.opens;
    if (!message.empty()) {
      ++refused_ones;
      wrong += !message.starts_with("corpus '" + file.string() + "' ") || message.size() > 600;
    }
  }
  CHECK(wrong == 0);
  CHECK(opened > 1000);
  CHECK(refused_ones > 1000);
  // A map or a descriptor left behind each time would be 10,000 of them; so would memory of a size that a header names.
  CHECK(mapped_pages() - pages < 1000);
  CHECK(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()) <
        100);
}

}  // namespace
}  // namespace hylas::model
