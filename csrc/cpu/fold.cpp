// Unfold and fold: a gather of patches, and a gather over the patches that cover a pixel.
#include "fold.h"

#include "fold_args.h"

namespace {

using namespace vnls;

void unfold_out(const Tensor& video, const std::vector<int64_t>& fields, Tensor patches) {
  const PatchGrid grid = patch_grid(fields, video, patches);
  dispatch_floating(video, "unfold", [&](auto zero) {
    using T = decltype(zero);
    const T* from = video.const_data_ptr<T>();
    T* to = patches.mutable_data_ptr<T>();
    const int side = grid.patch;
    torch::stable::parallel_for(0, patches.numel() / (side * side), 64, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane)
        for (int64_t value = plane * side * side; value < (plane + 1) * side * side; ++value) {
          const int64_t source = value_source(grid, value);
          to[value] = source < 0 ? T(0) : from[source];
        }
    });
  });
}

void fold_add_out(const Tensor& patches, const std::vector<int64_t>& fields, Tensor video) {
  const PatchGrid grid = patch_grid(fields, video, patches);
  dispatch_floating(video, "fold", [&](auto zero) {
    using T = decltype(zero);
    T* to = video.mutable_data_ptr<T>();
    const int64_t area = int64_t(grid.height) * grid.width;
    const int plane = grid.patch * grid.patch;
    torch::stable::parallel_for(0, grid.batch * grid.frames * grid.height, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t frame = row / grid.height, video_index = frame / grid.frames;
        const int y = static_cast<int>(row % grid.height), t = static_cast<int>(frame % grid.frames);
        const T* from = patches.const_data_ptr<T>() + video_index * grid.count * grid.patch_values();
        T* line = to + frame * grid.channels * area + int64_t(y) * grid.width;
        for (int x = 0; x < grid.width; ++x)
          visit_patches(grid, t, y, x, [&](int64_t at) {
            for (int c = 0; c < grid.channels; ++c) line[c * area + x] += from[at + int64_t(c) * plane];
          });
      }
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("unfold_out", TORCH_BOX(&unfold_out));
  m.impl("fold_add_out", TORCH_BOX(&fold_add_out));
}
