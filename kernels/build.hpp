// What this build can do.
#pragma once

namespace hylas::kernels {

#if defined(HYLAS_WITH_CUDA)
inline constexpr bool with_cuda = true;
#else
inline constexpr bool with_cuda = false;
#endif

}  // namespace hylas::kernels
