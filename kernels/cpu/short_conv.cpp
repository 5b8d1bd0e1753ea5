// CPU: short_conv (kernels/short_conv.hpp).
#include "kernels/short_conv.hpp"

#include <algorithm>

#include "kernels/backends.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

namespace {

static_assert(kConvWidth == kConvTaps);

void check_conv(const cpu::Check& check, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                const Tensor& bias, const Tensor& out) {
  const std::int64_t any = cpu::Check::any, channels = conv.channels();
  check.tensor("proj", proj, proj.dtype(), {proj.trials(), any, any, any});
  for (const ConvSegment& s : conv.segments) {
    if (s.heads == 0) continue;
    const std::int64_t last = s.at + (s.heads - 1) * s.stride + s.dim;
    check.require(s.heads > 0 && s.dim > 0 && s.at >= 0 && s.stride >= 0 && last <= proj.dim(3),
                  "a segment of " + std::to_string(s.heads) + " heads of " + std::to_string(s.dim) + " from column " +
                      std::to_string(s.at) + " on, " + std::to_string(s.stride) + " apart, leaves proj " +
                      cpu::describe(proj));
  }
  check.tensor("out", out, proj.dtype(), {proj.trials(), proj.dim(1), proj.dim(2), channels});
  if (weight.defined()) check.tensor("weight", weight, proj.dtype(), {proj.trials(), channels, kConvWidth});
  check.require(weight.defined() || !bias.defined(), "a bias needs a weight");
  if (bias.defined()) check.tensor("bias", bias, proj.dtype(), {proj.trials(), channels});
}

// weight and bias as the loops read them: [5, channels].
template <class T>
void transpose_weight(const Tensor& weight, const Tensor& bias, std::int64_t p, std::int64_t channels, T* to) {
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t j = 0; j < kConvWidth; ++j) to[j * channels + c] = weight.trial<T>(p)[c * kConvWidth + j];
    to[kConvWidth * channels + c] = bias.defined() ? bias.trial<T>(p)[c] : T{0};
  }
}

// Calls f(sequence of a segment, its first column, its first channel) for every sequence and segment of a trial.
template <class T, class F>
void each_sequence(const ShortConv& conv, const Tensor& proj, F&& f) {
  for (std::int64_t b = 0; b < proj.dim(1); ++b) {
    std::int64_t channel = 0;
    for (const ConvSegment& s : conv.segments) {
      if (s.heads == 0) continue;
      ConvSequence<T> r;
      r.length = proj.dim(2);
      r.heads = s.heads;
      r.dim = s.dim;
      r.stride = s.stride;
      r.width = proj.dim(3);
      r.channels = conv.channels();
      r.normalised = s.normalised;
      f(r, b * r.length * r.width + s.at, b * r.length * r.channels + channel, channel);
      channel += s.heads * s.dim;
    }
  }
}

}  // namespace

void short_conv_forward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                        const Tensor& bias, const Tensor& out) {
  const cpu::Check check(ctx, "short_conv_forward");
  check.by_dtype("proj", proj, [&](auto zero) {
    using T = decltype(zero);
    check_conv(check, conv, proj, weight, bias, out);
    const std::int64_t channels = conv.channels(), parameters = (kConvWidth + 1) * channels;
    const ArenaScope scope(ctx.arena);
    T* taps = weight.defined() ? ctx.arena.take<T>(parameters) : nullptr;
    T* zeros = ctx.arena.take<T>(channels);
    std::fill_n(zeros, channels, T{0});
    for (std::int64_t p = 0; p < proj.trials(); ++p) {
      if (weight.defined()) transpose_weight(weight, bias, p, channels, taps);
      each_sequence<T>(conv, proj,
                       [&](ConvSequence<T>& r, std::int64_t column, std::int64_t out_at, std::int64_t channel) {
                         r.x = proj.trial<T>(p) + column;
                         r.weight = weight.defined() ? taps + channel : nullptr;
                         r.zeros = zeros;
                         r.out = out.trial<T>(p) + out_at;
                         cpu::loops<T>(ctx).conv_forward(r);
                       });
    }
  });
}

void short_conv_backward(Context& ctx, const ShortConv& conv, const Tensor& proj, const Tensor& weight,
                         const Tensor& bias, const Tensor& dout, const Tensor& dproj, const Tensor& dweight,
                         const Tensor& dbias) {
  const cpu::Check check(ctx, "short_conv_backward");
  check.by_dtype("proj", proj, [&](auto zero) {
    using T = decltype(zero);
    check_conv(check, conv, proj, weight, bias, dout);
    check.tensor("dproj", dproj, proj.dtype(), {proj.trials(), proj.dim(1), proj.dim(2), proj.dim(3)});
    const std::int64_t channels = conv.channels(), parameters = (kConvWidth + 1) * channels;
    if (weight.defined()) check.tensor("dweight", dweight, proj.dtype(), {proj.trials(), channels, kConvWidth});
    if (bias.defined()) check.tensor("dbias", dbias, proj.dtype(), {proj.trials(), channels});
    const ArenaScope scope(ctx.arena);
    T* taps = ctx.arena.take<T>(parameters);
    T* dtaps = ctx.arena.take<T>(parameters);
    T* zeros = ctx.arena.take<T>(channels);
    T* scratch = ctx.arena.take<T>(conv_scratch(1, channels));
    std::fill_n(zeros, channels, T{0});
    for (std::int64_t p = 0; p < proj.trials(); ++p) {
      if (weight.defined()) transpose_weight(weight, bias, p, channels, taps);
      std::fill_n(dtaps, parameters, T{0});
      each_sequence<T>(conv, proj,
                       [&](ConvSequence<T>& r, std::int64_t column, std::int64_t out_at, std::int64_t channel) {
                         r.x = proj.trial<T>(p) + column;
                         r.weight = weight.defined() ? taps + channel : nullptr;
                         r.zeros = zeros;
                         r.dout = dout.trial<T>(p) + out_at;
                         r.dx = dproj.trial<T>(p) + column;
                         r.dweight = dtaps + channel;
                         r.scratch = scratch;
                         cpu::loops<T>(ctx).conv_backward(r);
                       });
      for (std::int64_t c = 0; c < channels && weight.defined(); ++c) {
        for (std::int64_t j = 0; j < kConvWidth; ++j) {
          dweight.trial<T>(p)[c * kConvWidth + j] += dtaps[j * channels + c];
        }
        if (bias.defined()) dbias.trial<T>(p)[c] += dtaps[kConvWidth * channels + c];
      }
    }
  });
}

}  // namespace hylas::kernels::cpu
