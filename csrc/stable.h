// The one door to torch: everything the kernels use of its stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/Dispatch.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <vector>

#include "frames.h"

namespace vnls {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Calls body with a zero of the element type, so that a generic lambda can name it: `using scalar = decltype(zero)`.
template <typename Body>
void dispatch_floating(const Tensor& tensor, const char* name, Body&& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return body(float{});
    case ScalarType::Double:
      return body(double{});
    default:
      STD_TORCH_CHECK(false, name, ": expected float32 or float64");
  }
}

// Python has checked shapes and dtypes with words; this is the last line before raw pointers.
inline void check_contiguous(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.is_contiguous(), name, ": expected a contiguous tensor");
}

template <typename T>
Frames<const T> const_frames(const std::vector<Tensor>& tensors, const char* name) {
  STD_TORCH_CHECK(!tensors.empty() && tensors.size() <= kMaxFrames, name, ": expected 1 to ", kMaxFrames, " frames");
  Frames<const T> frames{};
  frames.count = static_cast<int>(tensors.size());
  for (int i = 0; i < frames.count; ++i) {
    check_contiguous(tensors[i], name);
    frames.data[i] = static_cast<const T*>(tensors[i].const_data_ptr<T>());
  }
  return frames;
}

}  // namespace vnls
