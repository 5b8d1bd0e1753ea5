// A simulated table of emergence: 2 sizes x 2 windows x NoPE x 3 seeds, evaluated every sixth of an octave.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "fitting/dual2.hpp"
#include "fitting/random.hpp"

namespace hylas::test {

struct TableLook {
  char delimiter = ',';
  bool shuffled = false;
  bool renamed = false;
  bool named = true;  // with a design column
  bool jsonl = false;
  bool uneven = false;  // designs with NoPE and window 512 end at .72
};

// ln D50 = ln 5e9 - .35 ln(N / 31M) + .30 ln(w / 128) - .60 NoPE + N(0, .10^2); accuracies are exact values of a
// logistic curve from .02 to .92.
inline std::string emergence_csv(const TableLook& look) {
  const std::vector<std::string> names =
      look.renamed
          ? std::vector<std::string>{"model", "s", "D", "acc", "n", "params", "w", "np", "depth"}
          : std::vector<std::string>{"design", "seed", "tokens", "value", "count", "N", "window", "nope", "depth"};
  std::vector<std::string> lines;
  fitting::Stream stream(8, 0);
  for (const double n : {15e6, 31e6}) {
    for (const int window : {128, 512}) {
      for (const int nope : {0, 1}) {
        for (const int seed : {1, 2, 3}) {
          const double at = std::log(5e9) - 0.35 * std::log(n / 31e6) + 0.30 * std::log(window / 128.0) - 0.60 * nope +
                            0.10 * stream.normal();
          for (double d = 5e8; d < 4e10; d *= std::exp2(1.0 / 6)) {
            const double rise = look.uneven && nope == 1 && window == 512 ? 0.70 : 0.90;
            const double accuracy = 0.02 + rise * fitting::sigmoid(8 * (std::log(d) - at));
            const std::vector<std::string> fields = {
                "w" + std::to_string(window) + (nope != 0 ? "-nope-" : "-rope-") + (n > 2e7 ? "N31e6" : "N15e6"),
                std::to_string(seed),
                std::to_string(std::llround(d)),
                std::to_string(std::round(accuracy * 500) / 500),
                "500",
                std::to_string(std::llround(n)),
                std::to_string(window),
                std::to_string(nope),
                std::to_string(window > 200 && nope != 0 ? 12 : 8)};
            std::string line;
            for (std::size_t j = look.named ? 0 : 1; j < fields.size(); ++j) {
              if (look.jsonl) {
                const std::string quote = j == 0 ? "\"" : "";
                line += (line.empty() ? "{" : ",") + ("\"" + names[j] + "\":") + quote + fields[j] + quote;
              } else {
                line += (line.empty() ? "" : std::string(1, look.delimiter)) + fields[j];
              }
            }
            lines.push_back(line + (look.jsonl ? "}\n" : "\n"));
          }
        }
      }
    }
  }
  std::string text;
  for (std::size_t j = look.named ? 0 : 1; j < names.size() && !look.jsonl; ++j) {
    text += (text.empty() ? "" : std::string(1, look.delimiter)) + names[j];
  }
  if (!look.jsonl) text += "\n";
  // A stride that shares no factor with the number of rows visits each row once.
  const std::size_t stride = look.shuffled ? 101 : 1;
  for (std::size_t i = 0; i < lines.size(); ++i) text += lines[i * stride % lines.size()];
  return text;
}

}  // namespace hylas::test
