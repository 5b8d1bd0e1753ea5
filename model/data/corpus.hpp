// Corpus: a real text, read-only and memory-mapped, as one sequence of tokens; where its training and validation parts
// lie, and where the sequences of either begin.
//
// Formats (CorpusFormat). `automatic` goes by the name: *.bin holds tokens, any other file is bytes.
//   bytes       every byte is a token, UTF-8 or not; vocabulary 256.
//   tokens      little-endian integers. A file that opens with a header of llm.c (256 int32 words: magic, version,
//               number of tokens, then unused words) holds what the header says: magic 20240520 version 1 is uint16
//               (GPT-2), magic 20240801 version 7 is uint32 (Llama 3), and the number of tokens must fill the file
//               exactly. Without a header the file is uint16 from its first byte, as nanoGPT writes it, or, where
//               tokens_u32 is asked for, uint32. The first word of a *.bin file tells: 20240101 .. 20241231, where
//               llm.c's magics lie, would be a pair of uint16 tokens whose first exceeds 55,028, more than GPT-2 has
//               (50,257). Such a word that is no magic of token files is refused, unless tokens_u16 or tokens_u32 is
//               asked for by name.
// Sources: karpathy/llm.c dev/data/data_common.py (write_datafile, write_evalfile) and llmc/dataloader.h
// (dataloader_load_shard_); karpathy/nanoGPT data/openwebtext/prepare.py and data/shakespeare_char/prepare.py.
//
// Split: the first floor(n (1 - validation)) of n tokens train, the rest validate (nanoGPT's rule for 0.1). 0 and 1 are
// allowed, for train.bin and val.bin as two files. A sequence of context T takes T + 1 tokens: T inputs and the last
// target.
//
// Units: positions and counts are tokens, from the first token of the file (headers excluded). The constructor reads
// the file once. Errors: InputError naming the file, what is wrong, where, and what to do. Positions out of range are
// bugs (asserts). Limitation: see mapped_file.hpp on files shortened while they are mapped. Thread-safety: all const
// members may be called by several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "model/data/mapped_file.hpp"

namespace hylas::model {

enum class CorpusFormat : std::uint8_t { automatic, bytes, tokens_u16, tokens_u32 };

// "auto", "bytes", "tokens_u16", "tokens_u32"; any other name is an InputError.
[[nodiscard]] CorpusFormat corpus_format(std::string_view name);
[[nodiscard]] std::string_view corpus_format_name(CorpusFormat format);

// Tokens [begin, end).
struct TokenRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

class Corpus {
 public:
  // validation: fraction of the tokens, in [0, 1].
  explicit Corpus(const std::filesystem::path& file, CorpusFormat format = CorpusFormat::automatic,
                  double validation = 0.1);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] CorpusFormat format() const { return format_; }  // as found: never `automatic`
  [[nodiscard]] std::int64_t size() const { return size_; }      // tokens, at least 1
  // For a copy of the whole to a device: token i is the little-endian unsigned integer of width() bytes at
  // data() + i width(), aligned to its width.
  [[nodiscard]] const std::byte* data() const { return map_.data() + header_bytes_; }
  [[nodiscard]] int width() const { return width_; }  // bytes: 1, 2 or 4

  [[nodiscard]] std::int64_t largest() const { return largest_; }  // token, at most 2^31 - 1
  // XXH64 (xxh64.hpp) of the tokens' bytes, without a header: nanoGPT's and llm.c's file of the same tokens agree.
  [[nodiscard]] std::uint64_t content_hash() const { return hash_; }
  // What a stored protocol names the data by: "tokens_u16[1003854]/xxh64:0123456789abcdef".
  [[nodiscard]] std::string identity() const;

  [[nodiscard]] std::int32_t token(std::int64_t i) const;
  // out[j] = token(first + j), j in [0, count).
  void copy(std::int64_t first, std::int64_t count, std::int32_t* out) const;

  [[nodiscard]] TokenRange training() const { return {0, split_}; }
  [[nodiscard]] TokenRange validation() const { return {split_, size_}; }

  // Throws unless every token is below `vocab`.
  void check_vocabulary(std::int64_t vocab) const;

  // A training sequence begins at any of training_starts(T) positions with equal chance: training_start is
  // training().begin + floor(random training_starts(T) / 2^64), random uniform on 64 bits. Both throw where the
  // training part is shorter than T + 1.
  [[nodiscard]] std::int64_t training_starts(std::int64_t context) const;
  [[nodiscard]] std::int64_t training_start(std::uint64_t random, std::int64_t context) const;

  // Validation sequences are windows of T + 1 tokens that do not overlap, spread evenly: window i of S begins at
  // validation().begin + floor(i V / S), V = validation().size(). check_validation throws where not even one fits, or
  // fewer than S do (naming eval.sequences and how many fit); so does validation_start.
  void check_validation(std::int64_t sequences, std::int64_t context) const;
  [[nodiscard]] std::int64_t validation_start(std::int64_t i, std::int64_t sequences, std::int64_t context) const;

 private:
  void read_header(CorpusFormat asked);
  void scan();
  void check_part(std::string_view part, const TokenRange& range, std::int64_t context) const;
  [[nodiscard]] std::int64_t first_above(std::int64_t bound) const;
  [[noreturn]] void refuse(std::string_view problem) const;

  std::filesystem::path path_;
  MappedFile map_;
  CorpusFormat format_ = CorpusFormat::bytes;
  int width_ = 1;
  std::int64_t header_bytes_ = 0;
  std::int64_t size_ = 0;
  std::int64_t split_ = 0;
  std::int64_t largest_ = 0;
  std::uint64_t hash_ = 0;
};

}  // namespace hylas::model
