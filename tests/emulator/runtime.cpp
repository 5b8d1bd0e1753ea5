// The CUDA runtime functions on host memory, for the emulated build: launches, memory, the device, errors.
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "cuda_runtime.h"
#include "tests/emulator/runtime.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace hylas::emulator {
namespace {

constexpr std::size_t fence = 512;  // bytes before and after an allocation, poisoned

struct Runtime {
  std::mutex mutex;
  std::map<unsigned char*, std::size_t> allocations;
  std::size_t allocated = 0;
  std::unordered_map<const void*, int> shared_bytes;  // cudaFuncAttributeMaxDynamicSharedMemorySize
};

Runtime& runtime() {
  static Runtime* instance = new Runtime;  // never destroyed: memory may be freed by static destructors
  return *instance;
}

thread_local cudaError_t last_error = cudaSuccess;

// With the address sanitizer the fences are for it to watch: it also sees reads, and where they are.
void set_fences([[maybe_unused]] unsigned char* memory, [[maybe_unused]] std::size_t bytes,
                [[maybe_unused]] bool closed) {
#if defined(__SANITIZE_ADDRESS__)
  for (unsigned char* f : {memory - fence, memory + bytes}) {
    if (closed) {
      __asan_poison_memory_region(f, fence);
    } else {
      __asan_unpoison_memory_region(f, fence);
    }
  }
#endif
}

std::string broken_fence(const unsigned char* memory, std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  return {};
#endif
  for (std::size_t i = 0; i < fence; ++i) {
    const std::string of = " a device allocation of " + std::to_string(bytes) + " bytes";
    if (memory[-1 - static_cast<std::ptrdiff_t>(i)] != poison) {
      return "emulator: something was written " + std::to_string(i + 1) + " bytes before" + of;
    }
    if (memory[bytes + i] != poison) {
      return "emulator: something was written " + std::to_string(i) + " bytes past the end of" + of;
    }
  }
  return {};
}

}  // namespace

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

void check_fences() {
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  for (const auto& [memory, bytes] : r.allocations) {
    const std::string problem = broken_fence(memory, bytes);
    if (!problem.empty()) throw std::runtime_error(problem);
  }
}

cudaError_t start(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> thread) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffU || grid.y > 65535 || grid.z > 65535) {
    return report(cudaErrorInvalidConfiguration);
  }
  const std::size_t shared = config.dynamicSmemBytes;
  if (shared > 48 * 1024) {
    Runtime& r = runtime();
    const std::lock_guard lock(r.mutex);
    const auto known = r.shared_bytes.find(kernel);
    if (known == r.shared_bytes.end() || shared > static_cast<std::size_t>(known->second)) {
      return report(cudaErrorInvalidValue);
    }
  }
  return enqueue(config.stream,
                 [grid, block, shared, thread = std::move(thread)] { run_grid(grid, block, shared, thread); });
}

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > max_shared_bytes) return report(cudaErrorInvalidValue);
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  r.shared_bytes[kernel] = value;
  return cudaSuccess;
}

cudaError_t blocks_per_multiprocessor(int* blocks, int threads, std::size_t shared_bytes) {
  const std::size_t by_memory = (max_shared_bytes + 1024) / (shared_bytes + 1024);
  *blocks = static_cast<int>(std::min<std::size_t>({32, 2048 / static_cast<std::size_t>(threads), by_memory}));
  return cudaSuccess;
}

}  // namespace hylas::emulator

using namespace hylas::emulator;

extern "C" {

// ---- memory

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (forbidden()) return report(cudaErrorStreamCaptureUnsupported);
  constexpr std::align_val_t alignment{256};
  auto* base = static_cast<unsigned char*>(::operator new(bytes + 2 * fence, alignment, std::nothrow));
  if (base == nullptr) return report(cudaErrorMemoryAllocation);
  std::memset(base, poison, bytes + 2 * fence);
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  r.allocations[base + fence] = bytes;
  r.allocated += bytes;
  set_fences(base + fence, bytes, true);
  *memory = base + fence;
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  if (forbidden()) return report(cudaErrorStreamCaptureUnsupported);
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  auto* begin = static_cast<unsigned char*>(memory);
  const auto found = r.allocations.find(begin);
  if (found == r.allocations.end()) return report(cudaErrorInvalidValue);
  const std::string problem = broken_fence(begin, found->second);
  if (!problem.empty()) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    std::abort();
  }
  set_fences(begin, found->second, false);
  r.allocated -= found->second;
  r.allocations.erase(found);
  ::operator delete (begin - fence, std::align_val_t{256});
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t /*stream*/) {
  return cudaMalloc(memory, bytes);
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t /*stream*/) {
  return cudaFree(memory);
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return cudaMalloc(memory, bytes);
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned /*flags*/) {
  return cudaMalloc(memory, bytes);
}
cudaError_t cudaFreeHost(void* memory) {
  return cudaFree(memory);
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  Runtime& r = runtime();
  const std::lock_guard lock(r.mutex);
  *total = std::size_t{8} << 30;
  *free = *total - std::min(*total, r.allocated);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind /*kind*/,
                            cudaStream_t stream) {
  return enqueue(stream, [=] { std::memmove(to, from, bytes); });
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (forbidden()) return report(cudaErrorStreamCaptureImplicit);
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind /*kind*/, cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) return report(cudaErrorInvalidPitchValue);
  return enqueue(stream, [=] {
    for (std::size_t i = 0; i < height; ++i) {
      std::memmove(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, width);
    }
  });
}
cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                         std::size_t height, cudaMemcpyKind kind) {
  if (forbidden()) return report(cudaErrorStreamCaptureImplicit);
  return cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return enqueue(stream, [=] { std::memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  if (forbidden()) return report(cudaErrorStreamCaptureImplicit);
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

// ---- the device: one, of the lowest capability supported, so that kernels of the portable path are chosen

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : report(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return report(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "CPU emulator");
  properties->major = 8;
  properties->minor = 0;
  properties->multiProcessorCount = 132;
  properties->totalGlobalMem = std::size_t{8} << 30;
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = max_shared_bytes;
  properties->sharedMemPerMultiprocessor = max_shared_bytes + 1024;
  properties->reservedSharedMemPerBlock = 1024;
  properties->regsPerBlock = 65536;
  properties->regsPerMultiprocessor = 65536;
  properties->warpSize = static_cast<int>(warp_size);
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->l2CacheSize = 50 << 20;
  for (int& n : properties->maxGridSize) n = 65535;
  properties->maxGridSize[0] = std::numeric_limits<int>::max();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = 132; break;
    case cudaDevAttrComputeCapabilityMajor: *value = 8; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(max_shared_bytes); break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(max_shared_bytes) + 1024; break;
    case cudaDevAttrL2CacheSize: *value = 50 << 20; break;
    default: return report(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return forbidden() ? report(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* /*symbol*/, void** function, unsigned /*version*/,
                                             unsigned long long /*flags*/, cudaDriverEntryPointQueryResult* result) {
  *function = nullptr;
  if (result != nullptr) *result = cudaDriverEntryPointSymbolNotFound;
  return report(cudaErrorSymbolNotFound);
}

// ---- errors

cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return last_error;
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorInvalidPitchValue: return "invalid pitch argument";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureImplicit: return "operation would make the legacy stream depend on a capturing stream";
    default: return "an error that the emulator has no text for";
  }
}
const char* cudaGetErrorName(cudaError_t error) {
  return cudaGetErrorString(error);
}

}  // extern "C"
