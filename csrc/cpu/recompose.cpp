// Search image, local variance, recomposition and fine-band Wiener filter: what joins a level with the coarser one.
#include "recompose.h"

#include <algorithm>

#include "stable.h"
#include "taps.h"

namespace {

using namespace vnls;

constexpr int kBandRows = 32;  // fixed, so that running sums start at the same rows for any number of threads

struct Plane {
  int height, width;
};

// Means over a side x side window, borders mirrored, of `quantities` values a pixel. fill(y, row) writes the values of
// row y, [quantities, width]; emit(y, means) takes theirs. Sums run in double over one band of rows.
template <typename Fill, typename Emit>
void window_means(const Plane& plane, int side, int quantities, int first, int last, Fill&& fill, Emit&& emit) {
  const int w = plane.width, radius = side / 2, values = quantities * w;
  std::vector<double> column(values), row(values), mean(values), extended(w + 2 * radius);
  auto add = [&](int y, double sign) {
    fill(whole_sample_mirror(y, plane.height), row.data());
    for (int i = 0; i < values; ++i) column[i] += sign * row[i];
  };
  for (int y = first - radius; y < first + radius; ++y) add(y, 1);
  const double scale = 1.0 / (side * side);
  for (int y = first; y < last; ++y) {
    add(y + radius, 1);
    for (int q = 0; q < quantities; ++q) {
      const double* from = column.data() + q * w;
      for (int x = -radius; x < w + radius; ++x)
        extended[x + radius] = from[x >= 0 && x < w ? x : whole_sample_mirror(x, w)];
      double sum = 0;
      for (int x = 0; x < 2 * radius; ++x) sum += extended[x];
      for (int x = 0; x < w; ++x) {
        sum += extended[x + 2 * radius];
        mean[q * w + x] = sum * scale;
        sum -= extended[x];
      }
    }
    emit(y, mean.data());
    add(y - radius, -1);
  }
}

template <typename Work>
void over_bands(int planes, int height, Work&& work) {
  const int bands = (height + kBandRows - 1) / kBandRows;
  torch::stable::parallel_for(0, static_cast<int64_t>(planes) * bands, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int first = static_cast<int>(i % bands) * kBandRows;
      work(i / bands, first, std::min(first + kBandRows, height));
    }
  });
}

void local_variance_out(const Tensor& video, Tensor variance) {
  check_contiguous(video, "local_variance");
  const int channels = static_cast<int>(video.size(0));
  const Plane plane{static_cast<int>(video.size(1)), static_cast<int>(video.size(2))};
  const int64_t area = static_cast<int64_t>(plane.height) * plane.width;
  dispatch_floating(video, "local_variance", [&](auto zero) {
    using T = decltype(zero);
    const T* from = video.const_data_ptr<T>();
    T* to = variance.mutable_data_ptr<T>();
    over_bands(1, plane.height, [&](int64_t, int first, int last) {
      const int w = plane.width;
      auto fill = [&](int y, double* row) {
        for (int c = 0; c < channels; ++c)
          for (int x = 0; x < w; ++x) {
            const double v = from[c * area + static_cast<int64_t>(y) * w + x];
            row[2 * c * w + x] = v;
            row[(2 * c + 1) * w + x] = v * v;
          }
      };
      auto emit = [&](int y, const double* mean) {
        for (int x = 0; x < w; ++x) {
          double sum = 0;
          for (int c = 0; c < channels; ++c) {
            const double m = mean[2 * c * w + x];
            sum += std::max(mean[(2 * c + 1) * w + x] - m * m, 0.0);
          }
          to[static_cast<int64_t>(y) * w + x] = static_cast<T>(sum / channels);
        }
      };
      window_means(plane, kVarianceWindow, 2 * channels, first, last, fill, emit);
    });
  });
}

void recompose_out(const Tensor& basic, const Tensor& low, const Tensor& variance, double sigma, double fade,
                   Tensor out) {
  const int64_t area = variance.numel();
  dispatch_floating(basic, "recompose", [&](auto zero) {
    using T = decltype(zero);
    const T *b = basic.const_data_ptr<T>(), *l = low.const_data_ptr<T>(), *v = variance.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    const T sigma2 = static_cast<T>(sigma * sigma), fading = static_cast<T>(fade);
    torch::stable::parallel_for(0, basic.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = b[i] + coarse_share(v[i % area], sigma2, fading) * l[i];
    });
  });
}

void fine_wiener_out(const Tensor& basic, const Tensor& coarse, const Tensor& variance, double sigma, int64_t neighbors,
                     Tensor out) {
  const int channels = static_cast<int>(basic.size(0)), group = static_cast<int>(neighbors);
  const Plane plane{static_cast<int>(basic.size(1)), static_cast<int>(basic.size(2))};
  const int64_t area = static_cast<int64_t>(plane.height) * plane.width;
  dispatch_floating(basic, "fine_wiener", [&](auto zero) {
    using T = decltype(zero);
    const T *b = basic.const_data_ptr<T>(), *u = coarse.const_data_ptr<T>(), *v = variance.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    const T sigma2 = static_cast<T>(sigma * sigma);
    over_bands(channels, plane.height, [&](int64_t c, int first, int last) {
      const int w = plane.width;
      auto fill = [&](int y, double* row) {
        const int64_t at = c * area + static_cast<int64_t>(y) * w;
        for (int x = 0; x < w; ++x) {
          const double band = b[at + x] - u[at + x];
          row[x] = band * band;
        }
      };
      auto emit = [&](int y, const double* energy) {
        const int64_t line = static_cast<int64_t>(y) * w, at = c * area + line;
        for (int x = 0; x < w; ++x) {
          const T gain = fine_gain(static_cast<T>(energy[x]), v[line + x], sigma2, group);
          to[at + x] = u[at + x] + (b[at + x] - u[at + x]) * gain;
        }
      };
      window_means(plane, kEnergyWindow, 1, first, last, fill, emit);
    });
  });
}

void guide_out(const Tensor& base, const Tensor& band, double weight, Tensor out) {
  const Plane plane{static_cast<int>(base.size(0)), static_cast<int>(base.size(1))};
  dispatch_floating(base, "guide", [&](auto zero) {
    using T = decltype(zero);
    const T *u = base.const_data_ptr<T>(), *d = band.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    const T share = static_cast<T>(weight / 16);
    torch::stable::parallel_for(0, plane.height, 16, [&](int64_t begin, int64_t end) {
      const int w = plane.width;
      std::vector<T> column(w + 2);
      for (int64_t y = begin; y < end; ++y) {
        const T* middle = d + y * w;
        const T* above = d + static_cast<int64_t>(whole_sample_mirror(static_cast<int>(y) - 1, plane.height)) * w;
        const T* below = d + static_cast<int64_t>(whole_sample_mirror(static_cast<int>(y) + 1, plane.height)) * w;
        for (int x = 0; x < w; ++x) column[x + 1] = above[x] + 2 * middle[x] + below[x];
        column[0] = column[1 + whole_sample_mirror(-1, w)];
        column[w + 1] = column[1 + whole_sample_mirror(w, w)];
        for (int x = 0; x < w; ++x)
          to[y * w + x] = u[y * w + x] + share * (column[x] + 2 * column[x + 1] + column[x + 2]);
      }
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("local_variance_out", TORCH_BOX(&local_variance_out));
  m.impl("recompose_out", TORCH_BOX(&recompose_out));
  m.impl("fine_wiener_out", TORCH_BOX(&fine_wiener_out));
  m.impl("guide_out", TORCH_BOX(&guide_out));
}
