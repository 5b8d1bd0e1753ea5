// Files that are not checkpoints: each way a safetensors header can lie is refused for that very reason, before
// anything of a size it names is allocated; random damage never crashes and never changes what is loaded.
#include <cstring>
#include <random>

#include "model/checkpoint.hpp"
#include "tests/catch.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::model {
namespace {

using test::read_bytes;
using test::TempDir;
using test::write_bytes;

// The message of a refused file, "" of an accepted one.
std::string refusal(const std::filesystem::path& file) {
  try {
    (void)load_checkpoint(file);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

std::string file_of(const std::string& json, std::size_t data_bytes, std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + json + std::string(data_bytes, '\0');
}

std::string file_of(const std::string& json, std::size_t data_bytes) {
  return file_of(json, data_bytes, json.size());
}

std::string entry(const std::string& name, const std::string& shape, const std::string& offsets,
                  const std::string& dtype = "F32") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST_CASE("Every lie of a header is refused for what it is", "[checkpoint][hostile]") {
  const std::string deep(100000, '[');
  std::string nested = "{\"a\":";
  for (int i = 0; i < 100000; ++i) nested += "{\"a\":";
  const struct {
    const char* what;
    std::string bytes;
    const char* reason;
  } cases[] = {
      {"nothing", "", "shorter than the eight bytes"},
      {"seven bytes", "1234567", "shorter than the eight bytes"},
      {"length 2^64 - 1", file_of("{}", 0, ~std::uint64_t{0}), "announces a header of 18446744073709551615"},
      {"length 2^63", file_of("{}", 0, std::uint64_t{1} << 63), "announces a header"},
      {"length that wraps with 8", file_of("{}", 0, ~std::uint64_t{7}), "announces a header"},
      {"length beyond the file by one", file_of("{}", 0, 3), "announces a header of 3"},
      {"length 0", file_of("", 0), "does not begin with '{'"},
      {"length cuts the header", file_of("{" + entry("a", "[1]", "[0,4]") + "}", 4, 9), "not valid JSON"},
      {"no JSON", file_of("{]", 0), "not valid JSON"},
      {"array", file_of("[]", 0), "does not begin"},
      {"blank before", file_of(" {}", 0), "does not begin"},
      {"two documents", file_of("{}{}", 0), "not valid JSON"},
      {"a comment", file_of("{}//", 0), "not valid JSON"},
      {"bad UTF-8", file_of("{\"\xFF\":1}", 0), "not valid JSON"},
      {"deep arrays", file_of("{\"a\":" + deep, 0), "unexpected value"},
      {"deep objects", file_of(nested, 0), "unknown field"},
      {"a tensor that is a number", file_of(R"({"a":1})", 0), "unexpected value at 'a'"},
      {"a tensor that is a string", file_of(R"({"a":"F32"})", 0), "unexpected value"},
      {"a tensor that is null", file_of(R"({"a":null})", 0), "unexpected value"},
      {"metadata that is a number", file_of(R"({"__metadata__":{"a":1}})", 0), "unexpected value"},
      {"metadata that nests", file_of(R"({"__metadata__":{"a":{}}})", 0), "unexpected value"},
      {"metadata twice", file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "'__metadata__' occurs twice"},
      {"a metadata key twice", file_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0), "key 'k' occurs twice"},
      {"a name twice", file_of("{" + entry("a", "[1]", "[0,4]") + "," + entry("a", "[1]", "[4,8]") + "}", 8),
       "'a' occurs twice"},
      {"no fields", file_of(R"({"a":{}})", 0), "lacks"},
      {"no offsets", file_of(R"({"a":{"dtype":"F32","shape":[]}})", 0), "lacks"},
      {"a field twice", file_of(R"({"a":{"dtype":"F32","dtype":"F64"}})", 0), "field twice"},
      {"an unknown field", file_of(R"({"a":{"type":"F32"}})", 0), "unknown field 'type'"},
      {"unknown dtype", file_of("{" + entry("a", "[1]", "[0,4]", "F33") + "}", 4), "unknown dtype 'F33'"},
      {"one offset", file_of("{" + entry("a", "[1]", "[4]") + "}", 4), "unexpected value"},
      {"three offsets", file_of("{" + entry("a", "[1]", "[0,4,4]") + "}", 4), "unexpected value"},
      {"negative offset", file_of("{" + entry("a", "[1]", "[-4,0]") + "}", 4), "unexpected value"},
      {"fractional offset", file_of("{" + entry("a", "[1]", "[0,4.0]") + "}", 4), "unexpected value"},
      {"offset of 2^64", file_of("{" + entry("a", "[1]", "[0,18446744073709551616]") + "}", 4), "unexpected value"},
      {"negative dim", file_of("{" + entry("a", "[-1]", "[0,4]") + "}", 4), "unexpected value"},
      {"dim of 2^63", file_of("{" + entry("a", "[9223372036854775808]", "[0,4]") + "}", 4), "unexpected value"},
      {"nested shape", file_of("{" + entry("a", "[[1]]", "[0,4]") + "}", 4), "unexpected value"},
      {"end before begin", file_of("{" + entry("a", "[1]", "[4,0]") + "}", 4), "outside the file's data"},
      {"data beyond the file", file_of("{" + entry("a", "[2]", "[0,8]") + "}", 7), "outside the file's data"},
      {"data far beyond", file_of("{" + entry("a", "[4611686018427387904]", "[0,18446744073709551615]") + "}", 8),
       "outside the file's data"},
      {"product wraps to 0", file_of("{" + entry("a", "[4294967296,4294967296]", "[0,0]") + "}", 0),
       "larger than any file"},
      {"bytes wrap to 0", file_of("{" + entry("a", "[4611686018427387904]", "[0,0]") + "}", 0), "larger than any file"},
      {"a huge shape on few bytes", file_of("{" + entry("a", "[1099511627776]", "[0,4]") + "}", 4), "its shape needs"},
      {"too few bytes for the dtype", file_of("{" + entry("a", "[1]", "[0,4]", "F64") + "}", 4), "its shape needs 8"},
      {"too many bytes for the dtype", file_of("{" + entry("a", "[1]", "[0,4]", "F16") + "}", 4), "its shape needs 2"},
      {"overlap", file_of("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[4,12]") + "}", 12), "overlaps"},
      {"the same bytes twice", file_of("{" + entry("a", "[1]", "[0,4]") + "," + entry("b", "[1]", "[0,4]") + "}", 4),
       "overlaps"},
      {"hole", file_of("{" + entry("a", "[1]", "[0,4]") + "," + entry("b", "[1]", "[8,12]") + "}", 12), "hole"},
      {"hole at the front", file_of("{" + entry("a", "[1]", "[4,8]") + "}", 8), "hole"},
      {"bytes behind the last tensor", file_of("{" + entry("a", "[1]", "[0,4]") + "}", 5), "its tensors need 4"},
      {"no checksum", file_of("{" + entry("a", "[1]", "[0,4]") + "}", 4), "no checksum"},
      {"wrong checksum", file_of(R"({"__metadata__":{"hylas.checksum":"0"},)" + entry("a", "[1]", "[0,4]") + "}", 4),
       "do not match its checksum"},
      {"another dtype",
       file_of(R"({"__metadata__":{"hylas.checksum":"0"},)" + entry("a", "[1]", "[0,2]", "BF16") + "}", 2),
       "type BF16"},
      {"a name of a megabyte", file_of("{\"" + std::string(1 << 20, 'x') + "\":1}", 0), "xxx...'"},
  };
  const TempDir directory;
  const auto file = directory / "hostile.safetensors";
  for (const auto& c : cases) {
    write_bytes(file, c.bytes);
    const std::string message = refusal(file);
    CAPTURE(c.what, message);
    CHECK(message.find(c.reason) != std::string::npos);
    CHECK(message.find(file.string()) != std::string::npos);
    CHECK(message.find("remove the file") != std::string::npos);  // what to do
    CHECK(message.size() < 500);
  }
}

struct Valid {
  TempDir directory;
  std::filesystem::path file = directory / "a.safetensors";
  Checkpoint checkpoint;
  std::string bytes;
  std::size_t data_at = 0;

  explicit Valid(std::mt19937& random) {
    checkpoint.metadata = {{"step", "1234"}, {"trial", "0123456789abcdef"}};
    for (const std::size_t n : {3u, 8u, 0u, 17u}) {
      StoredTensor tensor{"layer." + std::to_string(n), {1, static_cast<std::int64_t>(n)}, {}};
      for (std::size_t i = 0; i < n; ++i) tensor.data.push_back(std::normal_distribution<float>()(random));
      checkpoint.tensors.push_back(std::move(tensor));
    }
    save_checkpoint(file, checkpoint.tensors, checkpoint.metadata);
    bytes = read_bytes(file);
    data_at = bytes.size() - 28 * sizeof(float);
  }
};

TEST_CASE("Every single flipped bit of the data is noticed, and every truncation", "[checkpoint][hostile]") {
  std::mt19937 random(4);
  const Valid valid(random);
  REQUIRE(refusal(valid.file).empty());
  for (std::size_t bit = valid.data_at * 8; bit < valid.bytes.size() * 8; ++bit) {
    std::string bytes = valid.bytes;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    write_bytes(valid.file, bytes);
    REQUIRE(refusal(valid.file).find("do not match its checksum") != std::string::npos);
  }
  for (std::size_t length = 0; length < valid.bytes.size(); ++length) {
    write_bytes(valid.file, valid.bytes.substr(0, length));
    REQUIRE(!refusal(valid.file).empty());
  }
}

std::string damaged(std::string bytes, std::mt19937& random) {
  const auto place = [&] { return random() % bytes.size(); };
  for (unsigned n = 1 + random() % 4; n > 0 && !bytes.empty(); --n) {
    const std::size_t at = place();
    switch (random() % 6) {
      case 0: bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8); break;
      case 1: bytes[at] = static_cast<char>(random()); break;
      case 2: bytes.resize(at); break;
      case 3: bytes.insert(at, bytes.substr(place(), random() % 64)); break;
      case 4: bytes.erase(at, random() % 64); break;
      default: bytes[at] = "0123456789-[]{},:\"\\ "[random() % 20]; break;  // stays near to JSON
    }
  }
  return bytes;
}

// Whatever is done to a file, it is refused with a CheckpointError, or what it says is unchanged.
void damage_and_load(int rounds) {
  const unsigned seed = 20240517;
  std::mt19937 random(seed);
  const Valid valid(random);
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    write_bytes(valid.file, damaged(valid.bytes, random));
    CAPTURE(seed, round);
    try {
      const Checkpoint loaded = load_checkpoint(valid.file);
      REQUIRE(loaded.metadata == valid.checkpoint.metadata);
      REQUIRE(loaded.tensors == valid.checkpoint.tensors);
    } catch (const CheckpointError&) {
      ++refused;
    }
  }
  CHECK(refused > rounds / 2);
}

TEST_CASE("Randomly damaged files are refused or unchanged, never a crash", "[checkpoint][hostile]") {
  damage_and_load(1500);
}

TEST_CASE("10,000 randomly damaged files are refused or unchanged", "[checkpoint][hostile][slow]") {
  damage_and_load(10000);
}

}  // namespace
}  // namespace hylas::model
