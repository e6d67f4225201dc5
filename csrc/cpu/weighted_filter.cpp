// A filter with a kernel for each pixel: gather, splat, and the gradient to its weights.
#include "weighted_filter.h"

#include <algorithm>

#include "filter_args.h"

namespace {

using namespace vnls;

// Row by row, so that the inner loop runs along x in all operands.
void weighted_filter_out(const Tensor& images, const Tensor& weights, int64_t side, bool splat, Tensor out) {
  const FilterForm form = filter_form(images, weights, side);
  dispatch_floating(images, "weighted filter", [&](auto zero) {
    using T = decltype(zero);
    const T *from = images.const_data_ptr<T>(), *kernels = weights.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    const int radius = form.side / 2, n = form.side;
    torch::stable::parallel_for(0, form.batch * form.height, 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t item = line / form.height;
        const int y = static_cast<int>(line % form.height);
        for (int c = 0; c < form.channels; ++c)
          std::fill_n(to + ((item * form.channels + c) * form.height + y) * form.width, form.width, T(0));
        for (int i = 0; i < n; ++i) {
          const int row = splat ? y - i + radius : y + i - radius;
          if (row < 0 || row >= form.height) continue;
          for (int j = 0; j < n; ++j) {
            const int shift = splat ? radius - j : j - radius;
            const int first = std::max(0, -shift), last = std::min(form.width, form.width - shift);
            const T* w = kernels + ((item * n * n + i * n + j) * form.height + (splat ? row : y)) * form.width +
                         (splat ? shift : 0);
            for (int c = 0; c < form.channels; ++c) {
              const int64_t plane = (item * form.channels + c) * form.height;
              const T* in = from + (plane + row) * form.width + shift;
              T* sums = to + (plane + y) * form.width;
              for (int x = first; x < last; ++x) sums[x] += w[x] * in[x];
            }
          }
        }
      }
    });
  });
}

void weighted_filter_dots_out(const Tensor& images, const Tensor& targets, int64_t side, Tensor of_weights) {
  const FilterForm form = filter_form(images, of_weights, side);
  dispatch_floating(images, "weighted filter", [&](auto zero) {
    using T = decltype(zero);
    const T *from = images.const_data_ptr<T>(), *other = targets.const_data_ptr<T>();
    T* to = of_weights.mutable_data_ptr<T>();
    const int radius = form.side / 2, n = form.side;
    torch::stable::parallel_for(0, of_weights.numel() / std::max(form.width, 1), 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int y = static_cast<int>(line % form.height), tap = static_cast<int>(line / form.height % (n * n));
        const int64_t item = line / form.height / (n * n);
        T* sums = to + line * form.width;
        std::fill_n(sums, form.width, T(0));
        const int row = y + tap / n - radius, shift = tap % n - radius;
        if (row < 0 || row >= form.height) continue;
        const int first = std::max(0, -shift), last = std::min(form.width, form.width - shift);
        for (int c = 0; c < form.channels; ++c) {
          const int64_t plane = (item * form.channels + c) * form.height;
          const T *in = from + (plane + row) * form.width + shift, *g = other + (plane + y) * form.width;
          for (int x = first; x < last; ++x) sums[x] += g[x] * in[x];
        }
      }
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("weighted_filter_out", TORCH_BOX(&weighted_filter_out));
  m.impl("weighted_filter_dots_out", TORCH_BOX(&weighted_filter_dots_out));
}
