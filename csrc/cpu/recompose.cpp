// Search image, local variance, recomposition and fine-band Wiener filter: what joins a level with the coarser one; and
// the chains of these.
#include "recompose.h"

#include <algorithm>
#include <optional>

#include "cpu/planes.h"
#include "joining.h"
#include "taps.h"

namespace {

using namespace vnls;

constexpr int kBandRows = 32;  // fixed, so that running sums start at the same rows for any number of threads

// Means over a side x side window, borders mirrored, of `quantities` values a pixel. fill(y, row) writes the values of
// row y, [quantities, width]; emit(y, means) takes theirs. Sums run in double over one band of rows.
template <typename Fill, typename Emit>
void window_means(const Planes& plane, int side, int quantities, int first, int last, Fill&& fill, Emit&& emit) {
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

template <typename T>
void variance_of(const T* video, Planes size, T* variance) {
  const int channels = size.count;
  const int64_t area = size.area();
  over_bands(1, size.height, [&](int64_t, int first, int last) {
    const int w = size.width;
    auto fill = [&](int y, double* row) {
      for (int c = 0; c < channels; ++c)
        for (int x = 0; x < w; ++x) {
          const double v = video[c * area + static_cast<int64_t>(y) * w + x];
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
        variance[static_cast<int64_t>(y) * w + x] = static_cast<T>(sum / channels);
      }
    };
    window_means(size, kVarianceWindow, 2 * channels, first, last, fill, emit);
  });
}

template <typename T>
void recomposed(const T* basic, const T* low, const T* variance, Planes size, double sigma, double fade, T* out) {
  const int64_t area = size.area();
  const T sigma2 = static_cast<T>(sigma * sigma), fading = static_cast<T>(fade);
  torch::stable::parallel_for(0, size.size(), 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = basic[i] + coarse_share(variance[i % area], sigma2, fading) * low[i];
  });
}

template <typename T>
void fine_filtered(const T* basic, const T* coarse, const T* variance, Planes size, double sigma, int neighbors,
                   T* out) {
  const int64_t area = size.area();
  const T sigma2 = static_cast<T>(sigma * sigma);
  over_bands(size.count, size.height, [&](int64_t c, int first, int last) {
    const int w = size.width;
    auto fill = [&](int y, double* row) {
      const int64_t at = c * area + static_cast<int64_t>(y) * w;
      for (int x = 0; x < w; ++x) {
        const double band = basic[at + x] - coarse[at + x];
        row[x] = band * band;
      }
    };
    auto emit = [&](int y, const double* energy) {
      const int64_t line = static_cast<int64_t>(y) * w, at = c * area + line;
      for (int x = 0; x < w; ++x) {
        const T gain = fine_gain(static_cast<T>(energy[x]), variance[line + x], sigma2, neighbors);
        out[at + x] = coarse[at + x] + (basic[at + x] - coarse[at + x]) * gain;
      }
    };
    window_means(size, kEnergyWindow, 1, first, last, fill, emit);
  });
}

// base: null for zeros.
template <typename T>
void guided(const T* base, const T* band, Planes size, double weight, T* out) {
  const T share = static_cast<T>(weight / 16);
  torch::stable::parallel_for(0, size.height, 16, [&](int64_t begin, int64_t end) {
    const int w = size.width;
    std::vector<T> column(w + 2), zeros(base == nullptr ? w : 0);
    for (int64_t y = begin; y < end; ++y) {
      const T* below_it = base == nullptr ? zeros.data() : base + y * w;
      const T* middle = band + y * w;
      const T* above = band + static_cast<int64_t>(whole_sample_mirror(static_cast<int>(y) - 1, size.height)) * w;
      const T* below = band + static_cast<int64_t>(whole_sample_mirror(static_cast<int>(y) + 1, size.height)) * w;
      for (int x = 0; x < w; ++x) column[x + 1] = above[x] + 2 * middle[x] + below[x];
      column[0] = column[1 + whole_sample_mirror(-1, w)];
      column[w + 1] = column[1 + whole_sample_mirror(w, w)];
      for (int x = 0; x < w; ++x)
        out[y * w + x] = below_it[x] + share * (column[x] + 2 * column[x + 1] + column[x + 2]);
    }
  });
}

void local_variance_out(const Tensor& video, Tensor variance) {
  check_contiguous(video, "local_variance");
  dispatch_floating(video, "local_variance", [&](auto zero) {
    using T = decltype(zero);
    variance_of(video.const_data_ptr<T>(), planes_of(video), variance.mutable_data_ptr<T>());
  });
}

void recompose_out(const Tensor& basic, const Tensor& low, const Tensor& variance, double sigma, double fade,
                   Tensor out) {
  dispatch_floating(basic, "recompose", [&](auto zero) {
    using T = decltype(zero);
    recomposed(basic.const_data_ptr<T>(), low.const_data_ptr<T>(), variance.const_data_ptr<T>(), planes_of(basic),
               sigma, fade, out.mutable_data_ptr<T>());
  });
}

void fine_wiener_out(const Tensor& basic, const Tensor& coarse, const Tensor& variance, double sigma, int64_t neighbors,
                     Tensor out) {
  dispatch_floating(basic, "fine_wiener", [&](auto zero) {
    using T = decltype(zero);
    fine_filtered(basic.const_data_ptr<T>(), coarse.const_data_ptr<T>(), variance.const_data_ptr<T>(), planes_of(basic),
                  sigma, static_cast<int>(neighbors), out.mutable_data_ptr<T>());
  });
}

void guide_out(const Tensor& base, const Tensor& band, double weight, Tensor out) {
  dispatch_floating(base, "guide", [&](auto zero) {
    using T = decltype(zero);
    guided(base.const_data_ptr<T>(), band.const_data_ptr<T>(),
           {1, static_cast<int>(base.size(0)), static_cast<int>(base.size(1))}, weight, out.mutable_data_ptr<T>());
  });
}

// For the chains of joining.h.
struct Steps {
  void halve(const float* in, const Axis& axis, const float* minuend, float* out) const {
    vnls::halve(in, axis, minuend, out);
  }
  void enlarge(const float* in, const Axis& axis, const float* minuend, float* out) const {
    vnls::enlarge(in, axis, minuend, out);
  }
  void normalise(const float* noisy, const int64_t* sums, Planes size, double sigma, float* out) const {
    vnls::normalise(noisy, sums, sigma, out, size.size());
  }
  void guide(const float* base, const float* band, Planes size, double weight, float* out) const {
    guided(base, band, size, weight, out);
  }
  void local_variance(const float* video, Planes size, float* variance) const { variance_of(video, size, variance); }
  void recompose(const float* basic, const float* low, const float* variance, Planes size, double sigma, double fade,
                 float* out) const {
    recomposed(basic, low, variance, size, sigma, fade, out);
  }
  void fine_wiener(const float* basic, const float* coarse, const float* variance, Planes size, double sigma,
                   int neighbors, float* out) const {
    fine_filtered(basic, coarse, variance, size, sigma, neighbors, out);
  }
};

void search_image_out(const Tensor& luma, std::optional<Tensor> coarse, double weight, Tensor scratch, Tensor out) {
  if (luma.numel() == 0) return;
  search_image_of(Steps{}, luma, coarse, weight, scratch, out);
}

void joined_frame_out(const Tensor& noisy, const Tensor& sums, const Tensor& coarse, double sigma, double fade,
                      int64_t neighbors, Tensor scratch, Tensor out) {
  if (noisy.numel() == 0) return;
  joined_frame_of(Steps{}, noisy, sums, coarse, sigma, fade, neighbors, scratch, out);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("local_variance_out", TORCH_BOX(&local_variance_out));
  m.impl("recompose_out", TORCH_BOX(&recompose_out));
  m.impl("fine_wiener_out", TORCH_BOX(&fine_wiener_out));
  m.impl("guide_out", TORCH_BOX(&guide_out));
  m.impl("search_image_out", TORCH_BOX(&search_image_out));
  m.impl("joined_frame_out", TORCH_BOX(&joined_frame_out));
}
