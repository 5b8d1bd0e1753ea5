// hylas fit list names laws that can be fitted as it says; hylas bench fit measures what its targets are about.
#include <nlohmann/json.hpp>
#include <set>

#include "fitting/covariates.hpp"
#include "fitting/loss.hpp"
#include "tests/catch.hpp"
#include "tests/search/fit_table_support.hpp"
#include "tests/search/program.hpp"

using hylas::test::run_program;
using hylas::test::TempDir;
using nlohmann::json;

TEST_CASE("fit list names every law, and the command it names takes it", "[program][fit]") {
  const TempDir dir;
  const auto run = run_program(dir, "fit list --json");
  REQUIRE(run.code == 0);
  const auto listed = json::parse(run.out);
  std::set<std::string> names;
  dir.write("nothing.csv", "x,y\n1,2\n");
  for (const auto& law : listed["laws"]) {
    const auto name = law["name"].get<std::string>();
    INFO(name);
    names.insert(name);
    for (const auto* key : {"summary", "formula", "source"}) CHECK_FALSE(law[key].get<std::string>().empty());
    CHECK_FALSE(law["parameters"].empty());
    CHECK_FALSE(law["columns"].empty());
    // The law is known: what is missing is a column.
    const auto command = law["command"].get<std::string>().substr(std::string("hylas ").size());
    const auto tried = run_program(dir, command + " --input nothing.csv");
    CHECK(tried.code == 2);
    CHECK(tried.err.find("no column") != std::string::npos);
  }
  CHECK(names.count("F1") + names.count("F3") == 2);
  for (const auto& law : hylas::fitting::loss_laws()) CHECK(names.count(law.name) == 1);
  CHECK(listed["terms"] == hylas::fitting::known_terms());

  const auto text = run_program(dir, "fit list");
  REQUIRE(text.code == 0);
  for (const auto& name : names) CHECK(text.out.find(name + ": ") != std::string::npos);
}

TEST_CASE("fit list names the parameters that the fits report", "[program][fit]") {
  const TempDir dir;
  dir.write("runs.csv", hylas::test::emergence_csv({}));
  const auto listed = json::parse(run_program(dir, "fit list --json").out);
  for (const std::string name : {"F3", "F1"}) {
    const auto fit =
        json::parse(run_program(dir, "fit emergence --input runs.csv --terms ln_window --law " + name + " --json").out);
    std::set<std::string> fitted;
    for (const auto& p : fit["parameters"]) fitted.insert(p["name"]);
    for (const auto& law : listed["laws"]) {
      if (law["name"] != name) continue;
      for (const auto& parameter : law["parameters"]) {
        const auto text = parameter.get<std::string>();
        INFO(name << " " << text);
        CHECK(fitted.count(text == "one a term" ? "ln_window" : text.substr(0, text.find(' '))) == 1);
      }
      CHECK(law["parameters"].size() == fitted.size());
    }
  }
}

TEST_CASE("bench fit measures four fits, and the published grid finds no lower minimum", "[program][bench][slow]") {
  const TempDir dir;
  const auto run = run_program(dir, "bench fit --dump points.csv --json");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto out = json::parse(run.out);
  CHECK(out["threads"] == 1);
  for (const auto* name : {"fit", "bootstrap", "grid", "emergence"}) {
    const auto& result = out[name];
    INFO(name);
    CHECK(result[std::string(name) == "fit" ? "milliseconds" : "seconds"].get<double>() > 0);
    CHECK(result["target"].get<double>() > 0);
    CHECK(result["converged"] == true);
    CHECK(result["starts_agreeing"].get<int>() > result["starts"].get<int>() / 2);
  }
  CHECK(out["grid"]["starts"] == 4500);
  CHECK(out["grid"]["objective"].get<double>() == Approx(out["fit"]["objective"].get<double>()).epsilon(1e-9));
  CHECK(out["emergence"]["parameters"].size() == 11);  // intercept, 8 columns, sigma, pi
  for (const auto& p : out["emergence"]["parameters"]) CHECK(p["ci90"].size() == 2);

  // The points are the ones that were fitted.
  const auto again = run_program(dir, "fit loss --input points.csv --bootstrap 0 --json");
  INFO(again.err);
  REQUIRE(again.code == 0);
  CHECK(json::parse(again.out)["objective"].get<double>() ==
        Approx(out["fit"]["objective"].get<double>()).epsilon(1e-9));
}
