// What the learned denoiser does to its maps between convolutions, each in one pass over them. Maps are [N, C, H, W] in
// bfloat16 or float32, channels last; biases and gains are float32.
#include <optional>
#include <type_traits>

#include "cuda/maps.cuh"

namespace {

using namespace vnls;

constexpr int kThreads = 256;
constexpr int kEach = 4;  // vectors of a thread

enum class Pass { kBias, kGelu, kResidual };

// Calls body(e, pixel) for the pixels that a thread has the same channels of: `kEach`, but for those beyond the last.
template <typename Body>
__device__ void of_each_pixel(int64_t pixels, const Body& body) {
  const int64_t first = blockIdx.x * int64_t(kEach) * blockDim.y + threadIdx.y;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t pixel = first + e * blockDim.y;
    if (pixel < pixels) body(e, pixel);
  }
}

// kBias: maps + bias. kGelu: of that, its GELU. kResidual: base + gain * maps + bias.
template <typename T, int V, Pass kPass>
__global__ void __launch_bounds__(kThreads) pass_kernel(const T* __restrict__ base, const float* __restrict__ gain,
                                                        const float* __restrict__ bias, T* maps, int64_t pixels) {
  using Values = Vector<T, V>;
  const int groups = blockDim.x, group = threadIdx.x;
  Values x[kEach], below[kEach];
  of_each_pixel(pixels, [&](int e, int64_t pixel) {
    x[e] = reinterpret_cast<const Values*>(maps)[pixel * groups + group];
    if constexpr (kPass == Pass::kResidual) below[e] = reinterpret_cast<const Values*>(base)[pixel * groups + group];
  });
  float b[V], g[V];
#pragma unroll
  for (int c = 0; c < V; ++c) {
    b[c] = bias[group * V + c];
    if constexpr (kPass == Pass::kResidual) g[c] = gain[group * V + c];
  }
  of_each_pixel(pixels, [&](int e, int64_t pixel) {
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
  });
}

// maps [rows, width, C] += below [rows / 2, width / 2, 4, C]: of every quadruple of pixels, the one at (y, x) of the
// four is 2y + x.
template <typename T, int V>
__global__ void __launch_bounds__(kThreads)
    add_enlarged_kernel(const T* __restrict__ below, T* maps, int64_t pixels, int width) {
  using Values = Vector<T, V>;
  const int groups = blockDim.x, group = threadIdx.x;
  Values x[kEach], more[kEach];
  of_each_pixel(pixels, [&](int e, int64_t pixel) {
    x[e] = reinterpret_cast<const Values*>(maps)[pixel * groups + group];
    const int64_t row = pixel / width;
    const int column = static_cast<int>(pixel - row * width);
    const int64_t quadruple = row / 2 * (width / 2) + column / 2;
    const int quadrant = static_cast<int>(2 * (row & 1)) + (column & 1);
    more[e] = reinterpret_cast<const Values*>(below)[(4 * quadruple + quadrant) * groups + group];
  });
  of_each_pixel(pixels, [&](int e, int64_t pixel) {
#pragma unroll
    for (int c = 0; c < V; ++c) narrow(widened(x[e].values[c]) + widened(more[e].values[c]), x[e].values[c]);
    reinterpret_cast<Values*>(maps)[pixel * groups + group] = x[e];
  });
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

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("add_bias_", TORCH_BOX(&add_bias_));
  m.impl("add_bias_gelu_", TORCH_BOX(&add_bias_gelu_));
  m.impl("add_residual_", TORCH_BOX(&add_residual_));
  m.impl("add_enlarged_", TORCH_BOX(&add_enlarged_));
  m.impl("see_out", TORCH_BOX(&see_out));
}
