// What lies between a frame and the maps of the learned denoiser: the views of its planes that go in, the planes that
// come out, and how these correct it. Maps are [1, C, H, W] in bfloat16 or float32, channels last; planes are float32.
#include <algorithm>
#include <optional>
#include <vector>

#include "cuda/maps.cuh"

namespace {

using namespace vnls;

constexpr int kThreads = 256;  // of what has no rows

struct Channel {
  float range, centre;
};

struct Picture {
  const float *noisy, *classic;  // [planes, height, width]
  int height, width;
};

// The views of a plane at one pixel of a map: for each of its kFactor x kFactor samples there, what was taken away, the
// result over its range, and the detail of that in units of the noise. The plane goes on as its border for as much as
// the maps do; the mean that detail is counted from is of what lies inside that.
template <int kFactor>
__device__ void views_of(const Picture& plane, int index, const Channel& channel, int y, int x, int map_height,
                         int map_width, float* out) {
  constexpr int kSamples = kFactor * kFactor, kPatch = kFactor + 2;
  const int64_t first = index * int64_t(plane.height) * plane.width;
  const float* classic = plane.classic + first;
  const float* noisy = plane.noisy + first;
  float patch[kPatch][kPatch];
  bool rows[kPatch], columns[kPatch];
#pragma unroll
  for (int i = 0; i < kPatch; ++i) {
    const int row = kFactor * y + i - 1, column = kFactor * x + i - 1;
    rows[i] = row >= 0 && row < kFactor * map_height;
    columns[i] = column >= 0 && column < kFactor * map_width;
  }
#pragma unroll
  for (int i = 0; i < kPatch; ++i) {
    const int row = min(max(kFactor * y + i - 1, 0), plane.height - 1);
#pragma unroll
    for (int j = 0; j < kPatch; ++j) {
      const int column = min(max(kFactor * x + j - 1, 0), plane.width - 1);
      patch[i][j] = classic[int64_t(row) * plane.width + column];
    }
  }
#pragma unroll
  for (int i = 0; i < kFactor; ++i) {
#pragma unroll
    for (int j = 0; j < kFactor; ++j) {
      const int row = min(kFactor * y + i, plane.height - 1), column = min(kFactor * x + j, plane.width - 1);
      const float result = patch[i + 1][j + 1];
      float sum = 0;
      int count = 0;
#pragma unroll
      for (int k = 0; k < 9; ++k) {
        if (!rows[i + k / 3] || !columns[j + k % 3]) continue;
        sum += patch[i + k / 3][j + k % 3] - result;
        ++count;
      }
      out[kFactor * i + j] = noisy[int64_t(row) * plane.width + column] - result;
      out[kSamples + kFactor * i + j] = result / channel.range - channel.centre;
      out[2 * kSamples + kFactor * i + j] = asinhf(-sum / count);
    }
  }
}

// Views of kWhole planes of luma's size and kHalf of half of it, beside each other, then zeros: out [height, width, K].
template <typename T, int kWhole, int kHalf>
__global__ void __launch_bounds__(128)
    views_kernel(Picture whole, Picture half, const Channel* __restrict__ channels, int top, int left, int map_height,
                 int map_width, int height, int width, T* __restrict__ out) {
  constexpr int kViews = 12 * kWhole + 3 * kHalf, kAll = (kViews + 15) / 16 * 16, V = kBytes / sizeof(T);
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (x >= width) return;
  float views[kAll];
#pragma unroll
  for (int p = 0; p < kWhole; ++p)
    views_of<2>(whole, p, channels[p], top + y, left + x, map_height, map_width, views + 12 * p);
#pragma unroll
  for (int p = 0; p < kHalf; ++p)
    views_of<1>(half, p, channels[kWhole + p], top + y, left + x, map_height, map_width, views + 12 * kWhole + 3 * p);
#pragma unroll
  for (int k = kViews; k < kAll; ++k) views[k] = 0;
  Vector<T, V>* to = reinterpret_cast<Vector<T, V>*>(out + (int64_t(y) * width + x) * kAll);
#pragma unroll
  for (int k = 0; k < kAll / V; ++k) {
    Vector<T, V> values;
#pragma unroll
    for (int c = 0; c < V; ++c) narrow(views[V * k + c], values.values[c]);
    to[k] = values;
  }
}

// maps [height, width, C] -> whole [kWhole, 2 height, 2 width], half [kHalf, height, width], float32. Channels
// beyond those are ignored.
template <typename T>
__global__ void __launch_bounds__(128)
    planes_kernel(const T* __restrict__ maps, int channels, int whole_planes, int half_planes, int height, int width,
                  float* __restrict__ whole, float* __restrict__ half) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (x >= width) return;
  const T* from = maps + (int64_t(y) * width + x) * channels;
  for (int p = 0; p < whole_planes; ++p) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int c = 4 * p + 2 * i;
      const float2 both = {widened(from[c]), widened(from[c + 1])};
      reinterpret_cast<float2*>(whole + (int64_t(p) * 2 * height + 2 * y + i) * 2 * width)[x] = both;
    }
  }
  for (int p = 0; p < half_planes; ++p) {
    const int c = 4 * whole_planes + p;
    half[(int64_t(p) * height + y) * width + x] = widened(from[c]);
  }
}

// faults[0] = 1 where a value is no number or infinite.
__global__ void __launch_bounds__(kThreads) look_kernel(const float* __restrict__ values, int64_t count, int* faults) {
  bool sound = true;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x)
    sound = sound && isfinite(values[i]);
  if (!sound) *faults = 1;
}

// values + base, or base alone where there are faults.
__global__ void __launch_bounds__(kThreads)
    correct_kernel(float* values, const float* __restrict__ base, int64_t count, const int* __restrict__ faults) {
  const bool sound = *faults == 0;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x)
    values[i] = sound ? base[i] + values[i] : base[i];
}

Picture picture_of(const Tensor& noisy, const Tensor& classic, const char* name) {
  check_contiguous(noisy, name);
  check_contiguous(classic, name);
  STD_TORCH_CHECK(noisy.dim() == 3 && noisy.numel() == classic.numel() && noisy.size(1) > 0 && noisy.size(2) > 0, name,
                  ": expected planes [P, H, W], noisy and denoised");
  return {noisy.const_data_ptr<float>(), classic.const_data_ptr<float>(), static_cast<int>(noisy.size(1)),
          static_cast<int>(noisy.size(2))};
}

void views_out(const std::vector<Tensor>& noisy, const std::vector<Tensor>& classic, const Tensor& channels,
               int64_t top, int64_t left, int64_t map_height, int64_t map_width, Tensor out) {
  const char* name = "views";
  check_maps(out, name);
  check_contiguous(channels, name);
  STD_TORCH_CHECK(noisy.size() == classic.size() && (noisy.size() == 1 || noisy.size() == 2) && out.size(0) == 1, name,
                  ": expected planes of luma's size, and perhaps of half of it");
  const Picture whole = picture_of(noisy[0], classic[0], name);
  const int64_t whole_planes = noisy[0].size(0), half_planes = noisy.size() == 2 ? noisy[1].size(0) : 0;
  const Picture half = half_planes ? picture_of(noisy[1], classic[1], name) : Picture{};
  const int height = static_cast<int>(out.size(2)), width = static_cast<int>(out.size(3));
  STD_TORCH_CHECK(channels.numel() == 2 * (whole_planes + half_planes) &&
                      out.size(1) == (12 * whole_planes + 3 * half_planes + 15) / 16 * 16,
                  name, ": expected range and centre of every plane, and room for all views");
  if (out.numel() == 0) return;
  dispatch_maps(out, name, [&](auto zero) {
    using T = decltype(zero);
    T* data = static_cast<T*>(out.mutable_data_ptr());
    STD_TORCH_CHECK(aligned(data, kBytes), name, ": expected a result at a multiple of 16 bytes");
    const Channel* of = reinterpret_cast<const Channel*>(channels.const_data_ptr<float>());
    launch_on(out, [&](cudaStream_t stream) {
      const dim3 grid(blocks_for(width, 128), static_cast<unsigned>(height));
      const auto launch = [&](auto kernel) {
        kernel<<<grid, 128, 0, stream>>>(whole, half, of, static_cast<int>(top), static_cast<int>(left),
                                         static_cast<int>(map_height), static_cast<int>(map_width), height, width,
                                         data);
      };
      if (whole_planes == 1 && half_planes == 0) {
        launch(views_kernel<T, 1, 0>);
      } else if (whole_planes == 1 && half_planes == 2) {
        launch(views_kernel<T, 1, 2>);
      } else {
        STD_TORCH_CHECK(whole_planes == 3 && half_planes == 0, name, ": expected the planes of a layout");
        launch(views_kernel<T, 3, 0>);
      }
    });
  });
}

void planes_out(const Tensor& maps, Tensor whole, std::optional<Tensor> half) {
  const char* name = "planes";
  check_maps(maps, name);
  check_contiguous(whole, name);
  const int64_t height = maps.size(2), width = maps.size(3), planes = whole.size(0);
  const int64_t half_planes = half.has_value() ? half->size(0) : 0, channels = maps.size(1);
  STD_TORCH_CHECK(maps.size(0) == 1 && whole.dim() == 3 && whole.size(1) == 2 * height && whole.size(2) == 2 * width &&
                      4 * planes + half_planes <= channels,
                  name, ": expected planes of twice the size of maps, and channels for them");
  if (half.has_value()) {
    check_contiguous(*half, name);
    STD_TORCH_CHECK(half->dim() == 3 && half->size(1) == height && half->size(2) == width, name,
                    ": expected planes of the size of maps");
  }
  if (whole.numel() == 0) return;
  dispatch_maps(maps, name, [&](auto zero) {
    using T = decltype(zero);
    launch_on(maps, [&](cudaStream_t stream) {
      const dim3 grid(blocks_for(width, 128), static_cast<unsigned>(height));
      planes_kernel<T><<<grid, 128, 0, stream>>>(
          static_cast<const T*>(maps.const_data_ptr()), static_cast<int>(channels), static_cast<int>(planes),
          static_cast<int>(half_planes), static_cast<int>(height), static_cast<int>(width),
          whole.mutable_data_ptr<float>(), half.has_value() ? half->mutable_data_ptr<float>() : nullptr);
    });
  });
}

void correct_(const std::vector<Tensor>& corrections, const std::vector<Tensor>& base, Tensor faults) {
  const char* name = "correct";
  constexpr int64_t kMost = 4096;  // blocks
  STD_TORCH_CHECK(corrections.size() == base.size() && faults.numel() == 1, name, ": expected a base for each");
  for (size_t i = 0; i < base.size(); ++i) {
    check_contiguous(corrections[i], name);
    check_contiguous(base[i], name);
    STD_TORCH_CHECK(corrections[i].numel() == base[i].numel(), name, ": expected a base like the corrections");
  }
  int* found = faults.mutable_data_ptr<int>();
  launch_on(faults, [&](cudaStream_t stream) {
    const auto of_each = [&](auto&& launch) {
      for (size_t i = 0; i < base.size(); ++i) {
        const int64_t count = base[i].numel();
        if (count > 0) launch(static_cast<unsigned>(std::min<int64_t>(blocks_for(count, kThreads), kMost)), i, count);
      }
    };
    of_each([&](unsigned blocks, size_t i, int64_t count) {
      look_kernel<<<blocks, kThreads, 0, stream>>>(corrections[i].const_data_ptr<float>(), count, found);
    });
    of_each([&](unsigned blocks, size_t i, int64_t count) {
      correct_kernel<<<blocks, kThreads, 0, stream>>>(corrections[i].mutable_data_ptr<float>(),
                                                      base[i].const_data_ptr<float>(), count, found);
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("views_out", TORCH_BOX(&views_out));
  m.impl("planes_out", TORCH_BOX(&planes_out));
  m.impl("correct_", TORCH_BOX(&correct_));
}
