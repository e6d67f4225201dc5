// From tensors to the sizes of a weighted filter, on the host of both backends.
#pragma once

#include "stable.h"
#include "weighted_filter.h"

namespace vnls {

// images [B, C, H, W] and weights [B, N*N, H, W]
inline FilterForm filter_form(const Tensor& images, const Tensor& weights, int64_t side) {
  check_contiguous(images, "weighted filter: images");
  check_contiguous(weights, "weighted filter: weights");
  for (int d = 1; d < 4; ++d) STD_TORCH_CHECK(images.size(d) < INT32_MAX, "weighted filter: an axis is too long");
  STD_TORCH_CHECK(weights.size(0) == images.size(0) && weights.size(1) == side * side &&
                      weights.size(2) == images.size(2) && weights.size(3) == images.size(3),
                  "weighted filter: size of the weights");
  return FilterForm{images.size(0), static_cast<int>(images.size(1)), static_cast<int>(images.size(2)),
                    static_cast<int>(images.size(3)), static_cast<int>(side)};
}

}  // namespace vnls
