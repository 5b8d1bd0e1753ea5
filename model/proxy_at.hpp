// ProxyAt: one proxy's network at other contexts than its training's. The weights are the same; rotation tables,
// a decoder's positions and what full attention sees follow the context. Made on first use. Thread-safety: at() may be
// called by one thread at a time.
#pragma once

#include <map>
#include <memory>

#include "model/proxy.hpp"

namespace hylas::model {

class ProxyAt {
 public:
  // `trained` must outlive this.
  ProxyAt(const Proxy& trained, Design design, kernels::DType dtype, kernels::Device device)
      : trained_(trained), design_(std::move(design)), dtype_(dtype), device_(device) {}

  [[nodiscard]] const Proxy& at(std::int64_t context) {
    if (context == trained_.shape().context) return trained_;
    std::unique_ptr<Proxy>& proxy = others_[context];
    if (!proxy) {
      Design design = design_;
      design.shape.context = context;
      proxy = std::make_unique<Proxy>(design, dtype_, device_, trained_.head());
    }
    return *proxy;
  }

 private:
  const Proxy& trained_;
  Design design_;
  kernels::DType dtype_;
  kernels::Device device_;
  std::map<std::int64_t, std::unique_ptr<Proxy>> others_;
};

}  // namespace hylas::model
