// Designs: equal designs have equal ids, different ones different ids; bad shapes are refused by name.
#include <set>

#include "model/design/design.hpp"
#include "tests/catch.hpp"

using namespace hylas::model;

namespace {

Shape small() {
  Shape shape;
  shape.d_model = 128;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 32;
  shape.ffn = 384;
  shape.vocab = 128;
  shape.context = 512;
  return shape;
}

std::string error_of(const Shape& shape, const char* layout = "full") {
  try {
    (void)Design::make(layout, shape);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("Equal designs have equal ids") {
  const std::string full = Design::make("full*4", small()).id();
  CHECK(Design::make("(full full)*2", small()).id() == full);
  CHECK(Design::make("swa:9999*4", small()).id() == full);
  CHECK(Design::make("swa:512 full swa:513 full", small()).id() == full);
  CHECK(Design::make("gdn/nope", small()).id() == Design::make("gdn", small()).id());
  CHECK(Design::make("full*4", small()).canonical() == Design::make("(full full)*2", small()).canonical());
  CHECK(full.size() == 16);
  CHECK(full.find_first_not_of("0123456789abcdef") == std::string::npos);
}

TEST_CASE("Every field of the shape, and every attribute of a layer, changes the id") {
  std::set<std::string> ids;
  std::vector<Shape> shapes(10, small());
  shapes[1].d_model = 64;
  shapes[2].heads = 2;
  shapes[3].kv_heads = 4;
  shapes[4].head_dim = 64;
  shapes[5].ffn = 0;
  shapes[6].vocab = 129;
  shapes[7].context = 513;
  shapes[8].tied = false;
  shapes[9].rope_theta = 10000.5;
  for (const Shape& shape : shapes) ids.insert(Design::make("swa:8 full", shape).id());
  CHECK(ids.size() == shapes.size());
  ids.clear();
  const std::vector<const char*> layouts = {"swa:8 full",      "full swa:8",      "swa:9 full",      "swa:8/nope full",
                                            "swa:8 full/nope", "swa:8/sink full", "swa:8 full/sink", "swa:8 gdn",
                                            "swa:8 mamba2",    "swa:8 lightning", "(swa:8 full)*2",  "swa:8"};
  for (const char* layout : layouts) ids.insert(Design::make(layout, small()).id());
  CHECK(ids.size() == layouts.size());
}

TEST_CASE("An id never changes between versions: stores hold it") {
  // Values printed when the format was fixed. A change here makes every existing store resume nothing.
  CHECK(hash_hex("") == "efd01f60ba992926");
  CHECK(Design::make("(swa:8 full)*2", small()).canonical() ==
        "(swa:8 full)*2 | d_model=128 heads=4 kv_heads=2 head_dim=32 ffn=384 vocab=128 context=512 tied=true "
        "rope_theta=10000");
  CHECK(Design::make("(swa:8 full)*2", small()).id() == hash_hex(Design::make("(swa:8 full)*2", small()).canonical()));
}

TEST_CASE("hash_hex has no collision and no stuck digit over 100,000 near texts") {
  std::set<std::string> seen;
  std::vector<std::set<char>> digits(16);
  for (int i = 0; i < 100000; ++i) {
    const std::string hash = hash_hex("design " + std::to_string(i));
    seen.insert(hash);
    for (std::size_t d = 0; d < 16; ++d) digits[d].insert(hash[d]);
  }
  CHECK(seen.size() == 100000);
  for (const auto& values : digits) CHECK(values.size() == 16);
}

TEST_CASE("A shape that cannot be is refused with the name of its field") {
  const auto with = [](auto change) {
    Shape shape = small();
    change(shape);
    return error_of(shape);
  };
  const auto starts = [](const std::string& text, const char* field) { return text.rfind(field, 0) == 0; };
  CHECK(error_of(small()).empty());
  CHECK(starts(with([](Shape& s) { s.d_model = 0; }), "d_model must"));
  CHECK(starts(with([](Shape& s) { s.d_model = -5; }), "d_model must"));
  CHECK(starts(with([](Shape& s) { s.d_model = INT64_MAX; }), "d_model must"));
  CHECK(starts(with([](Shape& s) { s.heads = 0; }), "heads must"));
  CHECK(starts(with([](Shape& s) { s.kv_heads = 3; }), "kv_heads must divide heads"));
  CHECK(starts(with([](Shape& s) { s.kv_heads = 8; }), "kv_heads must divide heads"));
  CHECK(starts(with([](Shape& s) { s.kv_heads = 0; }), "kv_heads must"));
  CHECK(starts(with([](Shape& s) { s.head_dim = 31; }), "head_dim must be even"));
  CHECK(starts(with([](Shape& s) { s.ffn = -1; }), "ffn must"));
  CHECK(starts(with([](Shape& s) { s.vocab = 1; }), "vocab must"));
  CHECK(starts(with([](Shape& s) { s.context = 0; }), "context must"));
  CHECK(starts(with([](Shape& s) { s.rope_theta = 0; }), "rope_theta must"));
  CHECK(starts(with([](Shape& s) { s.rope_theta = std::numeric_limits<double>::quiet_NaN(); }), "rope_theta must"));
  Shape odd = small();
  odd.d_model = 100;
  CHECK(error_of(odd).empty());
  CHECK(starts(error_of(odd, "mamba2 full"), "mamba2 needs d_model"));
}

TEST_CASE("nearest finds typos, swaps and other letter case, and stays silent about what is not near") {
  const std::vector<std::string> names = {"full", "swa", "gdn", "mamba2", "lightning", "learning_rate"};
  CHECK(nearest("swq", names) == "swa");
  CHECK(nearest("ufll", names) == "full");
  CHECK(nearest("MAMBA", names) == "mamba2");
  CHECK(nearest("learning-rte", names) == "learning_rate");
  CHECK(nearest("lightening", names) == "lightning");
  CHECK(nearest("xyz", names).empty());
  CHECK(nearest("q", names).empty());
  CHECK(nearest("", names).empty());
  CHECK(nearest("attention", names).empty());
  CHECK(nearest(std::string(1 << 20, 's'), names).empty());
  CHECK(nearest("full", {}).empty());
}
