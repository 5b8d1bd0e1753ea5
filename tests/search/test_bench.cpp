// hylas bench: JSON that scripts can rely on, on the CPU at small sizes; devices that are not there.
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/cuda/runtime.hpp"
#include "tests/catch.hpp"
#include "tests/search/program.hpp"

using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;

TEST_CASE("bench kernels measures every operator of a step, with stable keys", "[program][bench]") {
  const TempDir dir;
  const auto run = run_program(dir, "bench kernels --size cpu64 --device cpu --trials 2 --json");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto out = json::parse(run.out);
  CHECK(out["device"] == "cpu");
  CHECK(out["size"] == "cpu64");
  CHECK(out["trials"] == 2);
  CHECK(out["precision"] == "fp32");
  CHECK(out["ceilings"]["bytes_per_second"].get<double>() > 1e8);
  CHECK(out["ceilings"]["flops_per_second"].get<double>() > 1e8);
  std::set<std::string> names;
  for (const auto& found : out["operators"]) {
    names.insert(found["name"]);
    INFO(found.dump());
    CHECK_FALSE(found["shape"].get<std::string>().empty());
    CHECK(found["microseconds"].get<double>() > 0);
    CHECK(found["bytes"].get<double>() > 0);
    CHECK(found["flops"].get<double>() >= 0);
    CHECK(found["percent_of_ceiling"].get<double>() > 0);
    CHECK(found.size() == 6);
  }
  CHECK(names == std::set<std::string>{"embed_forward", "embed_backward", "norm_linear_forward", "norm_linear_backward",
                                       "attention_full_forward", "attention_full_backward", "attention_window_forward",
                                       "attention_window_backward", "linear_out_forward", "linear_out_input_gradient",
                                       "linear_out_weight_gradient", "feed_forward_forward", "feed_forward_backward",
                                       "final_norm_forward", "final_norm_backward", "linear_cross_entropy", "grad_norm",
                                       "adamw"});
}

TEST_CASE("bench refuses what it cannot measure, and says why", "[program][bench]") {
  const TempDir dir;
  CHECK(run_program(dir, "bench kernels --size cpu65 --device cpu").err.find("'cpu64'") != std::string::npos);
  CHECK(run_program(dir, "bench kernels --device cpu --precision bf16").code == 2);
  CHECK(run_program(dir, "bench kernels --device tpu").code == 2);
  if (hylas::kernels::cuda::gpu_count() > 0) return;
  for (const std::string command : {"bench kernels", "bench train", "demo", "sweep tiny.toml --db x.db"}) {
    if (command.starts_with("sweep")) {
      dir.write("tiny.toml",
                "[study]\nname = \"tiny\"\n[shape]\nd_model = 8\nheads = 1\nffn = 16\ncontext = 16\n[space]\npatterns "
                "= [\"full\"]\n"
                "[task]\nname = \"recall\"\nkeys = 4\nvalues = 4\n[recipe]\nsteps = 2\nbatch = 1\nseeds = 1\n");
    }
    const auto run = run_program(dir, command + " --device cuda");
    INFO(command << "\n" << run.err);
    CHECK(run.code == 6);
    CHECK(run.err.find(hylas::kernels::cuda::gpu_absence()) != std::string::npos);
    CHECK(run.out.empty());
  }
}
