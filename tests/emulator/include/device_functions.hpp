// The device functions of CUDA C++ by which threads meet and share memory, for the emulated build. Included by the shim
// cuda_runtime.h; the arithmetic is in device_math.hpp.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "tests/emulator/emulator.hpp"

// ---- barriers

inline void __syncthreads(const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  hylas::emulator::meet_block(hylas::emulator::Vote::none, false, "__syncthreads", where);
}
inline int __syncthreads_count(int predicate, const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::meet_block(hylas::emulator::Vote::count, predicate != 0, "__syncthreads_count", where);
}
inline int __syncthreads_and(int predicate, const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::meet_block(hylas::emulator::Vote::all, predicate != 0, "__syncthreads_and", where);
}
inline int __syncthreads_or(int predicate, const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::meet_block(hylas::emulator::Vote::any, predicate != 0, "__syncthreads_or", where);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned /*ns*/) {}

// ---- collectives of a warp

namespace hylas::emulator {

inline void set_call(WarpCall& call, WarpCall::Finish finish, std::uint32_t mask, const char* name,
                     const Where& where) {
  call.finish = finish;
  call.mask = mask;
  call.name = name;
  call.where = where;
}

template <class T>
struct Shuffle : WarpCall {
  T value{}, result{};
  int source = 0;
};

// Every lane gets the value of lane `source`; of a lane outside of the mask, poison.
template <class T>
T shuffle(std::uint32_t mask, T value, int source, const char* name, const Where& where) {
  static_assert(std::is_trivially_copyable_v<T>);
  Shuffle<T> call;
  call.value = value;
  call.source = source;
  set_call(
      call,
      [](WarpCall* const* calls, std::uint32_t lanes) {
        for (unsigned l = 0; l < warp_size; ++l) {
          if ((lanes >> l & 1) == 0) continue;
          auto& to = static_cast<Shuffle<T>&>(*calls[l]);
          if ((lanes >> to.source & 1) != 0) {
            to.result = static_cast<const Shuffle<T>*>(calls[to.source])->value;
          } else {
            std::memset(static_cast<void*>(&to.result), poison, sizeof(T));
          }
        }
      },
      mask, name, where);
  meet_warp(call);
  return call.result;
}

// One result for all lanes: fold(a, b) over the lanes of the mask in ascending order.
template <class T, class Fold>
T reduce(std::uint32_t mask, T value, Fold, const char* name, const Where& where) {
  Shuffle<T> call;
  call.value = value;
  set_call(
      call,
      [](WarpCall* const* calls, std::uint32_t lanes) {
        T total{};
        bool first = true;
        for (unsigned l = 0; l < warp_size; ++l) {
          if ((lanes >> l & 1) == 0) continue;
          const T x = static_cast<const Shuffle<T>*>(calls[l])->value;
          total = first ? x : Fold()(total, x);
          first = false;
        }
        for (unsigned l = 0; l < warp_size; ++l) {
          if ((lanes >> l & 1) != 0) static_cast<Shuffle<T>*>(calls[l])->result = total;
        }
      },
      mask, name, where);
  meet_warp(call);
  return call.result;
}

inline std::uint32_t ballot(std::uint32_t mask, bool predicate, const char* name, const Where& where) {
  const auto either = [](std::uint32_t a, std::uint32_t b) { return a | b; };
  return reduce(mask, predicate ? 1U << lane() : 0U, either, name, where);
}

// The lanes of the mask among those of this warp that exist.
inline std::uint32_t existing(std::uint32_t mask) {
  return mask & living_lanes();
}

}  // namespace hylas::emulator

inline void __syncwarp(unsigned mask = 0xffffffffU,
                       const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  hylas::emulator::WarpCall call;
  hylas::emulator::set_call(
      call, [](hylas::emulator::WarpCall* const*, std::uint32_t) {}, mask, "__syncwarp", where);
  hylas::emulator::meet_warp(call);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  const int lane = static_cast<int>(hylas::emulator::lane());
  return hylas::emulator::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync", where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  const int lane = static_cast<int>(hylas::emulator::lane());
  const int source = lane ^ lane_mask;
  // As in hardware: a lane of a later segment is out of reach.
  return hylas::emulator::shuffle(mask, value, source <= (lane | (width - 1)) ? source & 31 : lane, "__shfl_xor_sync",
                                  where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  const int lane = static_cast<int>(hylas::emulator::lane());
  const int source = lane + static_cast<int>(delta);
  return hylas::emulator::shuffle(mask, value, source <= (lane | (width - 1)) ? source : lane, "__shfl_down_sync",
                                  where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  const int lane = static_cast<int>(hylas::emulator::lane());
  const int source = lane - static_cast<int>(delta);
  return hylas::emulator::shuffle(mask, value, source >= (lane & ~(width - 1)) ? source : lane, "__shfl_up_sync",
                                  where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::ballot(mask, predicate != 0, "__ballot_sync", where);
}
inline int __any_sync(unsigned mask, int predicate,
                      const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::ballot(mask, predicate != 0, "__any_sync", where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::ballot(mask, predicate == 0, "__all_sync", where) == 0;
}
inline unsigned __activemask() {
  return hylas::emulator::living_lanes();
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value,
                          const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  unsigned same = 0;
  const unsigned lanes = hylas::emulator::existing(mask);
  for (int l = 0; l < 32; ++l) {
    const T other = hylas::emulator::shuffle(mask, value, l, "__match_any_sync", where);
    if ((mask >> l & 1) != 0 && std::memcmp(&other, &value, sizeof(T)) == 0) same |= 1U << l;
  }
  return same & lanes;
}
inline int __reduce_add_sync(unsigned mask, int x,
                             const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::reduce(
      mask, x, [](int a, int b) { return a + b; }, "__reduce_add_sync", where);
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned x,
                                  const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::reduce(
      mask, x, [](unsigned a, unsigned b) { return a + b; }, "__reduce_add_sync", where);
}
template <class T>
T __reduce_max_sync(unsigned mask, T x, const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  static_assert(std::is_integral_v<T>);
  return hylas::emulator::reduce(
      mask, x, [](T a, T b) { return a > b ? a : b; }, "__reduce_max_sync", where);
}
template <class T>
T __reduce_min_sync(unsigned mask, T x, const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  static_assert(std::is_integral_v<T>);
  return hylas::emulator::reduce(
      mask, x, [](T a, T b) { return a < b ? a : b; }, "__reduce_min_sync", where);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned x,
                                 const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::reduce(
      mask, x, [](unsigned a, unsigned b) { return a | b; }, "__reduce_or_sync", where);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned x,
                                  const hylas::emulator::Where where = hylas::emulator::Where::current()) {
  return hylas::emulator::reduce(
      mask, x, [](unsigned a, unsigned b) { return a & b; }, "__reduce_and_sync", where);
}

// ---- memory

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldca(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldlu(const T* p) {
  return *p;
}
template <class T>
T __ldcv(const T* p) {
  return *p;
}
template <class T>
void __stwb(T* p, T x) {
  *p = x;
}
template <class T>
void __stcg(T* p, T x) {
  *p = x;
}
template <class T>
void __stcs(T* p, T x) {
  *p = x;
}
template <class T>
void __stwt(T* p, T x) {
  *p = x;
}
inline std::size_t __cvta_generic_to_shared(const void* p) {
  return hylas::emulator::shared_offset(p);
}

// Atomics on integers; float sums by atomics are not reproducible, so there are none.
template <class T>
concept Atomic = std::is_integral_v<T>;
template <Atomic T>
T atomicAdd(T* p, std::type_identity_t<T> x) {
  return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);
}
template <Atomic T>
T atomicSub(T* p, std::type_identity_t<T> x) {
  return __atomic_fetch_sub(p, x, __ATOMIC_RELAXED);
}
template <Atomic T>
T atomicOr(T* p, std::type_identity_t<T> x) {
  return __atomic_fetch_or(p, x, __ATOMIC_RELAXED);
}
template <Atomic T>
T atomicAnd(T* p, std::type_identity_t<T> x) {
  return __atomic_fetch_and(p, x, __ATOMIC_RELAXED);
}
template <Atomic T>
T atomicXor(T* p, std::type_identity_t<T> x) {
  return __atomic_fetch_xor(p, x, __ATOMIC_RELAXED);
}
template <Atomic T>
T atomicExch(T* p, std::type_identity_t<T> x) {
  return __atomic_exchange_n(p, x, __ATOMIC_RELAXED);
}
template <Atomic T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> x) {
  __atomic_compare_exchange_n(p, &expected, x, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <Atomic T>
T atomicMax(T* p, std::type_identity_t<T> x) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (old < x && !__atomic_compare_exchange_n(p, &old, x, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <Atomic T>
T atomicMin(T* p, std::type_identity_t<T> x) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (x < old && !__atomic_compare_exchange_n(p, &old, x, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
inline unsigned atomicInc(unsigned* p, unsigned last) {
  unsigned old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(p, &old, old >= last ? 0U : old + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
