// See design_json.hpp.
#include "search/report/design_json.hpp"

namespace hylas::search {

using Json = nlohmann::ordered_json;

Json shape_json(const model::Shape& s) {
  return {{"d_model", s.d_model},   {"heads", s.heads}, {"kv_heads", s.kv_heads},
          {"head_dim", s.head_dim}, {"ffn", s.ffn},     {"vocab", s.vocab},
          {"context", s.context},   {"tied", s.tied},   {"rope_theta", s.rope_theta}};
}

model::Shape shape_from_json(const std::string& text) {
  try {
    const auto json = Json::parse(text);
    model::Shape s;
    json.at("d_model").get_to(s.d_model);
    json.at("heads").get_to(s.heads);
    json.at("kv_heads").get_to(s.kv_heads);
    json.at("head_dim").get_to(s.head_dim);
    json.at("ffn").get_to(s.ffn);
    json.at("vocab").get_to(s.vocab);
    json.at("context").get_to(s.context);
    json.at("tied").get_to(s.tied);
    json.at("rope_theta").get_to(s.rope_theta);
    model::validate(s);
    return s;
  } catch (const Json::exception& error) {
    throw model::InputError(std::string("a stored shape cannot be read (") + error.what() +
                            "); was this database written by another program?");
  }
}

Json design_json(const model::Design& design, const model::Cost& cost) {
  Json layers = Json::array();
  for (const auto& layer : design.layout.layers) {
    layers.push_back({{"mixer", model::name_of(layer.mixer)},
                      {"window", layer.mixer == model::Mixer::swa ? Json(layer.window) : Json(nullptr)},
                      {"rope", layer.rope},
                      {"sink", layer.sink}});
  }
  return {{"layout", design.layout_text()},
          {"design_id", design.id()},
          {"shape", shape_json(design.shape)},
          {"layers", layers},
          {"parameters", {{"total", cost.parameters_total}, {"non_embedding", cost.parameters_non_embedding}}},
          {"flops_per_token", {{"forward", cost.flops_forward}, {"train", cost.flops_train}}},
          {"cache_bytes", cost.cache_bytes}};
}

}  // namespace hylas::search
