// Checkpoints: what is saved is loaded, bit for bit, in the published format; failures and kills at every step leave
// the old file or the new one. Hostile files are test_checkpoint_hostile.cpp's business.
#include "model/checkpoint.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <system_error>

#include "tests/catch.hpp"
#include "tests/temp_dir.hpp"

namespace hylas::model {
namespace {

using test::read_bytes;
using test::TempDir;
using test::write_bytes;

namespace fs = std::filesystem;

std::vector<std::uint32_t> bits(const std::vector<float>& data) {
  std::vector<std::uint32_t> words;
  for (const float x : data) words.push_back(std::bit_cast<std::uint32_t>(x));
  return words;
}

std::vector<StoredTensor> tensors(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<StoredTensor> result;
  for (const auto& [name, dims] : {std::pair<std::string, std::vector<std::int64_t>>{"embed", {7, 5}},
                                   {"norm", {13}},
                                   {"none", {3, 0, 2}},
                                   {"step", {}},
                                   {"quote\" back\\ new\nline \xC3\xA9 \x01", {1, 1, 2}}}) {
    std::size_t count = 1;
    for (const std::int64_t dim : dims) count *= static_cast<std::size_t>(dim);
    StoredTensor tensor{name, dims, {}};
    for (std::size_t i = 0; i < count; ++i) tensor.data.push_back(std::normal_distribution<float>()(random));
    result.push_back(std::move(tensor));
  }
  const float special[] = {-0.0f, INFINITY, -INFINITY, std::bit_cast<float>(0x7FC12345u), 1e-42f};
  std::copy(std::begin(special), std::end(special), result[0].data.begin());
  return result;
}

void check_equal(const Checkpoint& got, const std::vector<StoredTensor>& want, const CheckpointMetadata& metadata) {
  CHECK(got.metadata == metadata);
  REQUIRE(got.tensors.size() == want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    CHECK(got.tensors[i].name == want[i].name);
    CHECK(got.tensors[i].dims == want[i].dims);
    CHECK(bits(got.tensors[i].data) == bits(want[i].data));
  }
}

bool is_seed(const fs::path& file, unsigned seed) {
  const Checkpoint loaded = load_checkpoint(file);
  return loaded.metadata.at("seed") == std::to_string(seed) &&
         bits(loaded.tensors[0].data) == bits(tensors(seed)[0].data);
}

void save_seed(const fs::path& file, unsigned seed, CheckpointFiles& files) {
  save_checkpoint(file, tensors(seed), {{"seed", std::to_string(seed)}}, files);
}

TEST_CASE("What is saved is loaded, bit for bit, and equal states are equal files", "[checkpoint]") {
  const TempDir directory;
  const CheckpointMetadata metadata = {
      {"step", "120"}, {"note", "'; DROP TABLE trials; -- \"\xE2\x82\xAC\" "}, {"", ""}};
  save_checkpoint(directory / "a", tensors(1), metadata);
  check_equal(load_checkpoint(directory / "a"), tensors(1), metadata);
  save_checkpoint(directory / "b", tensors(1), metadata);
  CHECK(read_bytes(directory / "a") == read_bytes(directory / "b"));
  save_checkpoint(directory / "a", tensors(2), {});  // over the old one
  check_equal(load_checkpoint(directory / "a"), tensors(2), {});
  save_checkpoint(directory / "empty", {}, {});
  check_equal(load_checkpoint(directory / "empty"), {}, {});
  CHECK(directory.files() == 3);  // no temporary file stays
}

// Read here by hand, so that a mistake shared by our writer and our reader would show.
TEST_CASE("The file is a safetensors file as published", "[checkpoint]") {
  const TempDir directory;
  const auto saved = tensors(3);
  save_checkpoint(directory / "a", saved, {{"step", "7"}});
  const std::string bytes = read_bytes(directory / "a");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  REQUIRE(length < bytes.size());
  CHECK((8 + length) % 8 == 0);  // aligned data
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  CHECK(header["__metadata__"]["step"] == "7");
  CHECK(header.size() == saved.size() + 1);
  std::size_t end = 0;
  for (const StoredTensor& tensor : saved) {
    const auto& entry = header[tensor.name];
    CHECK(entry["dtype"] == "F32");
    CHECK(entry["shape"].get<std::vector<std::int64_t>>() == tensor.dims);
    const std::size_t begin = entry["data_offsets"][0];
    CHECK(begin == end);
    end = entry["data_offsets"][1];
    REQUIRE(end - begin == 4 * tensor.data.size());
    CHECK(bytes.substr(8 + length + begin, end - begin) ==
          std::string(reinterpret_cast<const char*>(tensor.data.data()), end - begin));
  }
  CHECK(8 + length + end == bytes.size());
}

// The operating system with one step that goes wrong: the n-th call fails, or the process is killed there. A write
// that goes wrong has written half of its bytes, as a full disk does.
class FaultyFiles : public CheckpointFiles {
 public:
  enum class Fault { error, kill };
  FaultyFiles(int n, Fault fault) : left_(n), fault_(fault) {}
  int create(const fs::path& file) override {
    step("create");
    return CheckpointFiles::create(file);
  }
  void write(int descriptor, const void* data, std::size_t bytes) override {
    if (left_ == 0) CheckpointFiles::write(descriptor, data, bytes / 2);
    step("write");
    CheckpointFiles::write(descriptor, data, bytes);
  }
  void sync(int descriptor) override {
    step("sync");
    CheckpointFiles::sync(descriptor);
  }
  void close(int descriptor) override {
    step("close");
    CheckpointFiles::close(descriptor);
  }
  void rename(const fs::path& from, const fs::path& to) override {
    step("rename");
    CheckpointFiles::rename(from, to);
  }
  void sync_directory(const fs::path& directory) override {
    step("sync_directory");
    CheckpointFiles::sync_directory(directory);
  }
  std::string failed_at;

 private:
  void step(const char* name) {
    if (left_-- != 0) return;
    failed_at = name;
    if (fault_ == Fault::kill) ::kill(::getpid(), SIGKILL);
    throw std::system_error(ENOSPC, std::generic_category(), name);
  }
  int left_;
  Fault fault_;
};

TEST_CASE("A failure at any step keeps a good checkpoint, leaves no temporary file and says what to do",
          "[checkpoint]") {
  std::vector<std::string> failed;
  for (int n = 0;; ++n) {
    const TempDir directory;
    const fs::path file = directory / "trial.safetensors";
    CheckpointFiles good;
    save_seed(file, 1, good);
    FaultyFiles faulty(n, FaultyFiles::Fault::error);
    std::string message;
    try {
      save_seed(file, 2, faulty);
    } catch (const CheckpointError& error) {
      message = error.what();
    }
    CAPTURE(n, faulty.failed_at, message);
    CHECK(directory.files() == 1);
    const bool done = faulty.failed_at.empty();
    // Once the rename is done the new file is the one in place.
    CHECK(is_seed(file, done || faulty.failed_at == "sync_directory" ? 2 : 1));
    if (done) break;
    failed.push_back(faulty.failed_at);
    CHECK(message.find(file.string()) != std::string::npos);
    CHECK(message.find("No space left") != std::string::npos);
    CHECK(message.find("free space") != std::string::npos);
    save_seed(file, 3, good);  // and the next attempt works
    CHECK(is_seed(file, 3));
  }
  CHECK(failed == std::vector<std::string>{"create", "write", "write", "write", "write", "write", "write", "sync",
                                           "close", "rename", "sync_directory"});
}

TEST_CASE("SIGKILL at any step leaves the old checkpoint or the new one", "[checkpoint]") {
  int old_ones = 0, new_ones = 0;
  for (int n = 0; n < 12; ++n) {
    const TempDir directory;
    const fs::path file = directory / "trial.safetensors";
    CheckpointFiles good;
    save_seed(file, 1, good);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      FaultyFiles faulty(n, FaultyFiles::Fault::kill);
      save_seed(file, 2, faulty);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CAPTURE(n);
    CHECK(WIFSIGNALED(status) == (n < 11));
    const bool is_new = is_seed(file, 2);
    CHECK((is_new || is_seed(file, 1)));
    is_new ? ++new_ones : ++old_ones;
    save_seed(file, 3, good);  // what the killed process left behind is not in the way
    CHECK(is_seed(file, 3));
  }
  CHECK(old_ones == 10);  // killed before the rename
  CHECK(new_ones == 2);   // killed before the directory's sync; and not at all
}

// The kernel's own refusal, not an injected one: a limit on the size of files.
TEST_CASE("A file that cannot grow is reported, and the previous checkpoint stays", "[checkpoint]") {
  const TempDir directory;
  const fs::path file = directory / "trial.safetensors";
  CheckpointFiles good;
  save_seed(file, 1, good);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{600, 600};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      save_seed(file, 2, good);
    } catch (const CheckpointError& error) {
      ::_exit(std::string(error.what()).find("free space") != std::string::npos ? 7 : 8);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 7));
  CHECK(is_seed(file, 1));
  CHECK(directory.files() == 1);
}

TEST_CASE("Temporary files of killed processes go once they are an hour old; others' files stay", "[checkpoint]") {
  const TempDir directory;
  const auto old_time = fs::file_time_type::clock::now() - std::chrono::hours(2);
  for (const char* name :
       {"t.safetensors.123-0.tmp", "t.safetensors.x.tmp", "u.safetensors.123-0.tmp", "t.safetensors.tmp"}) {
    write_bytes(directory / name, "left");
    fs::last_write_time(directory / name, old_time);
  }
  write_bytes(directory / "t.safetensors.124-0.tmp", "fresh");
  save_checkpoint(directory / "t.safetensors", tensors(1), {});
  CHECK(!fs::exists(directory / "t.safetensors.123-0.tmp"));
  CHECK(fs::exists(directory / "t.safetensors.124-0.tmp"));
  CHECK(fs::exists(directory / "t.safetensors.x.tmp"));
  CHECK(fs::exists(directory / "u.safetensors.123-0.tmp"));
  CHECK(directory.files() == 5);
  // A temporary file of this very process and name, left by a crash of a namesake, is no obstacle.
  write_bytes(directory / ("t.safetensors." + std::to_string(::getpid()) + "-0.tmp"), "namesake");
  save_checkpoint(directory / "t.safetensors", tensors(2), {});
  CHECK(bits(load_checkpoint(directory / "t.safetensors").tensors[1].data) == bits(tensors(2)[1].data));
}

TEST_CASE("Names that cannot be stored and places that cannot be written are refused with the reason", "[checkpoint]") {
  const TempDir directory;
  const auto message = [](const auto& save) {
    try {
      save();
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto says = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  const StoredTensor one{"w", {1}, {1.0f}};
  CHECK(says(message([&] { save_checkpoint(directory / "a", {one, one}, {}); }), "'w' is not free"));
  CHECK(says(message([&] { save_checkpoint(directory / "a", {{"__metadata__", {1}, {1}}}, {}); }), "not free"));
  CHECK(says(message([&] { save_checkpoint(directory / "a", {{"\xFF", {1}, {1}}}, {}); }), "UTF-8"));
  CHECK(says(message([&] { save_checkpoint(directory / "a", {one}, {{"k", "\xC3"}}); }), "UTF-8"));
  CHECK(says(message([&] { save_checkpoint(directory / "a", {one}, {{"hylas.checksum", "0"}}); }), "not free"));
  CHECK(says(message([&] { save_checkpoint(directory / "no/such/a", {one}, {}); }), "create the directory"));
  fs::create_directory(directory / "d");
  CHECK(says(message([&] { save_checkpoint(directory / "d", {one}, {}); }), "Is a directory"));
  CHECK(says(message([&] { (void)load_checkpoint(directory / "d"); }), "not a file"));
  CHECK(says(message([&] { (void)load_checkpoint(directory / "absent"); }), "no such file"));
  CHECK(directory.files() == 1);
}

}  // namespace
}  // namespace hylas::model
