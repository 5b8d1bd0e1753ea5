// The JSON of a design and its costs, the same in every command, and of a shape as the store keeps it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "model/design/cost.hpp"
#include "model/design/design.hpp"

namespace hylas::search {

// Keys: layout, design_id, shape {..}, layers [{mixer, window, rope, sink}], parameters {total, non_embedding},
// flops_per_token {forward, train}, cache_bytes.
[[nodiscard]] nlohmann::ordered_json design_json(const model::Design& design, const model::Cost& cost);

[[nodiscard]] nlohmann::ordered_json shape_json(const model::Shape& shape);
// The inverse. Throws InputError when a key is missing or of another type: a store that this program did not write.
[[nodiscard]] model::Shape shape_from_json(const std::string& text);

}  // namespace hylas::search
