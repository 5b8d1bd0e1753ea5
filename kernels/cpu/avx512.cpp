// The hot loops for AVX-512. This file alone is compiled with AVX-512 switched on (kernels/CMakeLists.txt), so nothing
// in it may be shared with other files: it instantiates only templates over Bytes = 64 and calls no inline function of
// a library.
#include "kernels/cpu/loops.hpp"

namespace hylas::kernels::cpu {

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)

template <class T>
const Loops<T>* avx512_loops() {
  static constexpr Loops<T> table = make_loops<T, 64>();
  return &table;
}

#else

template <class T>
const Loops<T>* avx512_loops() {
  return nullptr;
}

#endif

template const Loops<float>* avx512_loops<float>();
template const Loops<double>* avx512_loops<double>();

}  // namespace hylas::kernels::cpu
