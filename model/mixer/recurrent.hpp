// RecurrentMixer: what Gated DeltaNet, Mamba-2 and Lightning attention have in common (MATHS 2): one fused input
// product, short convolution, decay and write strength, the recurrence, a gated norm, the output product. A mixer of
// this kind is a RecurrentParts: which columns of the product are what, and which parameters there are.
#pragma once

#include <cstdint>

#include "kernels/decay_gates.hpp"
#include "kernels/gated_norm.hpp"
#include "kernels/recurrence.hpp"
#include "kernels/short_conv.hpp"
#include "model/mixer/mixer.hpp"

namespace hylas::model {

// Parameters that a mixer does not have stay undefined.
struct RecurrentParts {
  ParameterId norm, in, out;    // before the mixer [d]; the input product [in_width, d]; the output one [d, w]
  ParameterId conv, conv_bias;  // none: silu alone
  ParameterId a_log, dt_bias;   // none: `decay` instead
  ParameterId skip;             // D of Mamba-2
  ParameterId gate_norm;
  std::int64_t in_width = 0;
  kernels::ShortConv short_conv;
  kernels::DecayGates gates;  // read where there is an a_log
  kernels::Recurrence recurrence;
  kernels::GatedNorm gated_norm;
  kernels::Tensor decay;  // {1, H}: log decays that are no parameters

  // Declares `in` and sets in_width: on a GPU the columns are padded to what its fused kernels take. The mixer's gates
  // have to name the columns beyond `rows` as unused.
  void add_input(ParameterTable& table, const MixerFrame& frame, const std::vector<ParameterTable::Part>& rows);
};

class RecurrentMixer final : public MixerOperator {
 public:
  // frame and table must outlive it.
  RecurrentMixer(const MixerFrame& frame, const ParameterTable& table, const RecurrentParts& parts)
      : frame_(frame), table_(table), parts_(parts) {}

  // data is not read: no window, position encoding or sink, and no heads to probe.
  void forward(kernels::Context& ctx, const LayerData& data, const Weights& weights, const kernels::Tensor& x,
               const kernels::Tensor& y, MixerSaved& saved) const override;
  void backward(kernels::Context& ctx, const LayerData& data, const Weights& weights, const kernels::Tensor& x,
                const MixerSaved& saved, const kernels::Tensor& dx, const kernels::Tensor& grads) const override;

 private:
  [[nodiscard]] bool has_gates() const { return parts_.a_log.defined(); }
  // The parameter in a block, the absent tensor where there is none.
  template <class Block>
  [[nodiscard]] kernels::Tensor view(const Block& block, ParameterId id) const {
    return id.defined() ? table_.view(block, id) : kernels::Tensor();
  }
  [[nodiscard]] kernels::RecurrenceInputs inputs(const Weights& weights, const kernels::Tensor& qkv,
                                                 const kernels::Tensor& g, const kernels::Tensor& beta) const;

  const MixerFrame& frame_;
  const ParameterTable& table_;
  RecurrentParts parts_;
};

}  // namespace hylas::model
