// From what Python passes to a grid of patches, on the host of both backends.
#pragma once

#include "fold.h"
#include "stable.h"

namespace vnls {

// The order of fields is that of vnlsdenoise/ops/fold.py: Grid.
inline PatchGrid patch_grid(const std::vector<int64_t>& fields, const Tensor& video, const Tensor& patches) {
  STD_TORCH_CHECK(fields.size() == 17, "fold: expected 17 fields, got ", fields.size());
  for (const int64_t field : fields) STD_TORCH_CHECK(field >= 0 && field < INT32_MAX, "fold: a field is out of range");
  auto at = [&](int i) { return static_cast<int>(fields[i]); };
  const PatchGrid grid{fields[0],  at(1),  at(2),  at(3),  at(4),  at(5),  at(6),      at(7),     at(8),
                       at(9) != 0, at(10), at(11), at(12), at(13), at(14), fields[15], fields[16]};
  check_contiguous(video, "fold: video");
  check_contiguous(patches, "fold: patches");
  STD_TORCH_CHECK(grid.patch <= kMostTaps && grid.depth <= kMostTaps && grid.stride > 0 && grid.dilation > 0 &&
                      grid.start + grid.count <= int64_t(grid.frames) * grid.rows * grid.columns,
                  "fold: grid");
  STD_TORCH_CHECK(video.numel() == grid.batch * grid.frames * grid.channels * grid.height * grid.width, "fold: video");
  STD_TORCH_CHECK(patches.numel() == grid.batch * grid.count * grid.patch_values(), "fold: patches");
  return grid;
}

}  // namespace vnls
