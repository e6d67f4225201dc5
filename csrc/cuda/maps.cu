// What the learned denoiser does to its maps between convolutions, each in one pass over them. Maps are [N, C, H, W] in
// bfloat16 or float32, channels last; biases and gains are float32.
#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include "cuda/maps.cuh"

namespace {

using namespace vnls;

constexpr int kThreads = 256;
constexpr int kEach = 4;  // vectors of a thread

__device__ float widened(float v) { return v; }
__device__ float widened(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ void narrow(float v, float& out) { out = v; }
__device__ void narrow(float v, __nv_bfloat16& out) { out = __float2bfloat16_rn(v); }

template <typename T, int V>
struct alignas(sizeof(T) * V) Vector {
  T values[V];
};

enum class Pass { kBias, kGelu, kResidual };

// A thread has the same channels of `kEach` pixels. kBias: maps + bias. kGelu: of that, its GELU. kResidual: base +
// gain * maps + bias.
template <typename T, int V, Pass kPass>
__global__ void __launch_bounds__(kThreads) pass_kernel(const T* __restrict__ base, const float* __restrict__ gain,
                                                        const float* __restrict__ bias, T* maps, int64_t pixels) {
  using Values = Vector<T, V>;
  const int groups = blockDim.x, group = threadIdx.x;
  const int64_t first = blockIdx.x * int64_t(kEach) * blockDim.y + threadIdx.y;
  Values x[kEach], below[kEach];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t pixel = first + e * blockDim.y;
    if (pixel >= pixels) continue;
    x[e] = reinterpret_cast<const Values*>(maps)[pixel * groups + group];
    if constexpr (kPass == Pass::kResidual) below[e] = reinterpret_cast<const Values*>(base)[pixel * groups + group];
  }
  float b[V], g[V];
#pragma unroll
  for (int c = 0; c < V; ++c) {
    b[c] = bias[group * V + c];
    if constexpr (kPass == Pass::kResidual) g[c] = gain[group * V + c];
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t pixel = first + e * blockDim.y;
    if (pixel >= pixels) continue;
#pragma unroll
    for (int c = 0; c < V; ++c) {
      float value = widened(x[e].values[c]);
      if constexpr (kPass == Pass::kResidual) {
        value = widened(below[e].values[c]) + (g[c] * value + b[c]);
      } else {
        value += b[c];
        if constexpr (kPass == Pass::kGelu) value = gelu(value);
      }
      narrow(value, x[e].values[c]);
    }
    reinterpret_cast<Values*>(maps)[pixel * groups + group] = x[e];
  }
}

// maps [rows, width, C] += below [rows / 2, width / 2, 4, C]: of every quadruple of pixels, the one at (y, x) of the
// four is 2y + x.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    add_enlarged_kernel(const T* __restrict__ below, T* maps, int64_t pixels, int width) {
  using Values = Vector<T, V>;
  const int groups = blockDim.x, group = threadIdx.x;
  const int64_t first = blockIdx.x * int64_t(kEach) * blockDim.y + threadIdx.y;
  Values x[kEach], more[kEach];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t pixel = first + e * blockDim.y;
    if (pixel >= pixels) continue;
    x[e] = reinterpret_cast<const Values*>(maps)[pixel * groups + group];
    const int64_t row = pixel / width;
    const int column = static_cast<int>(pixel - row * width);
    const int64_t quadruple = row / 2 * (width / 2) + column / 2;
    const int quadrant = static_cast<int>(2 * (row & 1)) + (column & 1);
    more[e] = reinterpret_cast<const Values*>(below)[(4 * quadruple + quadrant) * groups + group];
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t pixel = first + e * blockDim.y;
    if (pixel >= pixels) continue;
#pragma unroll
    for (int c = 0; c < V; ++c) narrow(widened(x[e].values[c]) + widened(more[e].values[c]), x[e].values[c]);
    reinterpret_cast<Values*>(maps)[pixel * groups + group] = x[e];
  }
}

// A state, and where it is looked at.
struct Seen {
  Placed state;
  int state_height, state_width, top, left;
  const float* flow;  // [N, 2, rows, columns]; none for no motion
  int64_t flow_batch, flow_way, flow_row, flow_column;
  int flow_height, flow_width;
  int height, width;  // of the result
};

template <typename T, int V>
__device__ Vector<T, V> read(const Placed& from, int64_t n, int64_t y, int64_t x, int group) {
  const T* at = static_cast<const T*>(from.data) + n * from.batch + y * from.row + x * from.pixel;
  return reinterpret_cast<const Vector<T, V>*>(at)[group];
}

// The state at (y + flow, x + flow), bilinear, its borders held.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads) see_kernel(Seen a, T* __restrict__ out, int64_t pixels) {
  const int groups = blockDim.x, group = threadIdx.x;
  const int64_t pixel = blockIdx.x * int64_t(blockDim.y) + threadIdx.y;
  if (pixel >= pixels) return;
  const int64_t line = pixel / a.width;
  const int x = static_cast<int>(pixel - line * a.width);
  const int n = static_cast<int>(line / a.height), y = static_cast<int>(line - int64_t(n) * a.height);
  float across = static_cast<float>(a.left + x), down = static_cast<float>(a.top + y);
  if (a.flow != nullptr) {
    const float* flow =
        a.flow + n * a.flow_batch + min(y, a.flow_height - 1) * a.flow_row + min(x, a.flow_width - 1) * a.flow_column;
    across += flow[0];
    down += flow[a.flow_way];
  }
  // What is no number becomes 0, as any place must be one of the state's.
  across = fminf(fmaxf(across, 0.f), static_cast<float>(a.state_width - 1));
  down = fminf(fmaxf(down, 0.f), static_cast<float>(a.state_height - 1));
  const int x0 = static_cast<int>(across), y0 = static_cast<int>(down);
  const int x1 = min(x0 + 1, a.state_width - 1), y1 = min(y0 + 1, a.state_height - 1);
  const float right = across - x0, low = down - y0;
  const Vector<T, V> corners[4] = {read<T, V>(a.state, n, y0, x0, group), read<T, V>(a.state, n, y0, x1, group),
                                   read<T, V>(a.state, n, y1, x0, group), read<T, V>(a.state, n, y1, x1, group)};
  const float weights[4] = {(1 - low) * (1 - right), (1 - low) * right, low * (1 - right), low * right};
  Vector<T, V> seen;
#pragma unroll
  for (int c = 0; c < V; ++c) {
    float sum = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += weights[k] * widened(corners[k].values[c]);
    narrow(sum, seen.values[c]);
  }
  reinterpret_cast<Vector<T, V>*>(out)[pixel * groups + group] = seen;
}

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

template <typename Body>
void dispatch_maps(const Tensor& tensor, const char* name, Body&& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::BFloat16:
      return body(__nv_bfloat16{});
    case ScalarType::Float:
      return body(float{});
    default:
      STD_TORCH_CHECK(false, name, ": expected bfloat16 or float32");
  }
}

// Calls body with the values of a vector (a constant): `kBytes` of them where channels and places allow, or one.
template <typename T, typename Body>
void dispatch_vector(bool whole, const Body& body) {
  if (whole) {
    body(std::integral_constant<int, kBytes / sizeof(T)>{});
  } else {
    body(std::integral_constant<int, 1>{});
  }
}

dim3 block_of(int64_t groups, const char* name) {
  STD_TORCH_CHECK(groups <= kThreads, name, ": too many channels");
  return dim3(static_cast<unsigned>(groups), static_cast<unsigned>(kThreads / groups));
}

template <Pass kPass>
void pass(const Tensor* base, const Tensor* gain, const Tensor& bias, Tensor& maps, const char* name) {
  check_maps(maps, name);
  check_contiguous(bias, name);
  STD_TORCH_CHECK(bias.numel() == maps.size(1), name, ": expected a bias of every channel");
  if (kPass == Pass::kResidual) {
    check_maps(*base, name);
    check_contiguous(*gain, name);
    STD_TORCH_CHECK(
        base->numel() == maps.numel() && base->scalar_type() == maps.scalar_type() && gain->numel() == maps.size(1),
        name, ": expected base and gain like maps");
  }
  if (maps.numel() == 0) return;
  const int64_t channels = maps.size(1), pixels = maps.numel() / channels;
  dispatch_maps(maps, name, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWhole = kBytes / sizeof(T);
    T* data = static_cast<T*>(maps.mutable_data_ptr());
    const T* below = base == nullptr ? nullptr : static_cast<const T*>(base->const_data_ptr());
    const float* gains = gain == nullptr ? nullptr : gain->const_data_ptr<float>();
    dispatch_vector<T>(channels % kWhole == 0 && aligned(data, kBytes) && aligned(below, kBytes), [&](auto values) {
      constexpr int V = decltype(values)::value;
      const dim3 block = block_of(channels / V, name);
      launch_on(maps, [&](cudaStream_t stream) {
        pass_kernel<T, V, kPass><<<blocks_for(pixels, kEach * block.y), block, 0, stream>>>(
            below, gains, bias.const_data_ptr<float>(), data, pixels);
      });
    });
  });
}

void add_bias_(Tensor maps, const Tensor& bias) { pass<Pass::kBias>(nullptr, nullptr, bias, maps, "add_bias"); }

void add_bias_gelu_(Tensor maps, const Tensor& bias) {
  pass<Pass::kGelu>(nullptr, nullptr, bias, maps, "add_bias_gelu");
}

void add_residual_(Tensor maps, const Tensor& base, const Tensor& gain, const Tensor& bias) {
  pass<Pass::kResidual>(&base, &gain, bias, maps, "add_residual");
}

void add_enlarged_(Tensor maps, const Tensor& below) {
  const char* name = "add_enlarged";
  check_maps(maps, name);
  check_maps(below, name);
  const int64_t channels = maps.size(1), height = maps.size(2), width = maps.size(3);
  STD_TORCH_CHECK(height % 2 == 0 && width % 2 == 0 && below.size(0) == maps.size(0) && below.size(1) == 4 * channels &&
                      below.size(2) == height / 2 && below.size(3) == width / 2 &&
                      below.scalar_type() == maps.scalar_type(),
                  name, ": expected four times the channels at half the size");
  if (maps.numel() == 0) return;
  const int64_t pixels = maps.numel() / channels;
  dispatch_maps(maps, name, [&](auto zero) {
    using T = decltype(zero);
    T* data = static_cast<T*>(maps.mutable_data_ptr());
    const T* more = static_cast<const T*>(below.const_data_ptr());
    constexpr int kWhole = kBytes / sizeof(T);
    dispatch_vector<T>(channels % kWhole == 0 && aligned(data, kBytes) && aligned(more, kBytes), [&](auto values) {
      constexpr int V = decltype(values)::value;
      const dim3 block = block_of(channels / V, name);
      launch_on(maps, [&](cudaStream_t stream) {
        add_enlarged_kernel<T, V>
            <<<blocks_for(pixels, kEach * block.y), block, 0, stream>>>(more, data, pixels, static_cast<int>(width));
      });
    });
  });
}

void see_out(const Tensor& state, std::optional<Tensor> flow, int64_t top, int64_t left, Tensor out) {
  const char* name = "see";
  check_maps(out, name);
  if (out.numel() == 0) return;
  const int64_t channels = out.size(1), pixels = out.numel() / channels;
  Seen a{};
  a.state = placed(state, out, name);
  a.state_height = static_cast<int>(state.size(2)), a.state_width = static_cast<int>(state.size(3));
  STD_TORCH_CHECK(state.size(1) == channels && a.state_height > 0 && a.state_width > 0, name,
                  ": expected a state of as many channels");
  a.top = static_cast<int>(top), a.left = static_cast<int>(left);
  a.height = static_cast<int>(out.size(2)), a.width = static_cast<int>(out.size(3));
  if (flow.has_value()) {
    STD_TORCH_CHECK(flow->dim() == 4 && flow->size(0) == out.size(0) && flow->size(1) == 2 && flow->size(2) > 0 &&
                        flow->size(3) > 0,
                    name, ": expected flow [N, 2, h, w]");
    a.flow = flow->const_data_ptr<float>();
    a.flow_batch = flow->stride(0), a.flow_way = flow->stride(1), a.flow_row = flow->stride(2);
    a.flow_column = flow->stride(3);
    a.flow_height = static_cast<int>(flow->size(2)), a.flow_width = static_cast<int>(flow->size(3));
  }
  dispatch_maps(out, name, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWhole = kBytes / sizeof(T);
    T* data = static_cast<T*>(out.mutable_data_ptr());
    const Placed& from = a.state;
    const bool whole = channels % kWhole == 0 && aligned(data, kBytes) && aligned(from.data, kBytes) &&
                       from.batch % kWhole == 0 && from.row % kWhole == 0 && from.pixel % kWhole == 0;
    dispatch_vector<T>(whole, [&](auto values) {
      constexpr int V = decltype(values)::value;
      const dim3 block = block_of(channels / V, name);
      launch_on(out, [&](cudaStream_t stream) {
        see_kernel<T, V><<<blocks_for(pixels, block.y), block, 0, stream>>>(a, data, pixels);
      });
    });
  });
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
  m.impl("add_bias_", TORCH_BOX(&add_bias_));
  m.impl("add_bias_gelu_", TORCH_BOX(&add_bias_gelu_));
  m.impl("add_residual_", TORCH_BOX(&add_residual_));
  m.impl("add_enlarged_", TORCH_BOX(&add_enlarged_));
  m.impl("see_out", TORCH_BOX(&see_out));
  m.impl("views_out", TORCH_BOX(&views_out));
  m.impl("planes_out", TORCH_BOX(&planes_out));
  m.impl("correct_", TORCH_BOX(&correct_));
}
