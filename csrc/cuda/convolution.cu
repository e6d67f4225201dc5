// Convolutions of maps in bfloat16 by tensor cores, with what follows them: a bias, an activation, a residual. Maps are
// [N, C, H, W], channels last.
//
// Of 3 x 3 pixels, zeros beyond the border; of 2 x 2, one result for each four of them; of one pixel, four results side
// by side, which are added to maps of twice the size. A block makes all channels of a rectangle of pixels. The channels
// of the inputs come in chunks: those of what the rectangle is made of lie in shared memory, from where all taps read
// them, each shifted; the weights of a tap come one after the other. Sums are of float32, in the same order for any
// pixel of any picture.
#include <cstring>
#include <optional>

#include "cuda/maps.cuh"
#include "cuda/tensor_core.cuh"

namespace {

using namespace vnls;

constexpr int kSources = 3;  // sets of maps that lie beside each other in the input, at most
constexpr int kStages = 3;   // taps whose weights are in shared memory

enum class After { kBias, kGelu, kResidual, kEnlarged };

struct Convolution {
  Placed sources[kSources];
  int of_source;              // chunks
  int chunks;                 // of all
  int height, width;          // of the sources
  int out_height, out_width;  // of what a pixel of the rectangle is one of: kEnlarged has four results for each
  // [chunks, taps, channels of the result (see below), channels of a chunk], four times over for kEnlarged
  const __nv_bfloat16* weight;
  const float* bias;          // none for kEnlarged
  const float* gain;          // of a residual
  const __nv_bfloat16* base;  // of a residual, dense
  __nv_bfloat16* out;         // dense
};

__device__ void multiply_bfloat(float (&c)[4], const Fragment& a, uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ void load_fragment(Fragment& f, uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
               : "r"(address));
}

// 16 bytes into shared memory, or zeros, beside the work; what was begun before a `commit` is one group.
__device__ void copy_in(uint32_t to, const void* from, bool zeros) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(zeros ? 0 : 16) : "memory");
}

__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int kLeft>
__device__ void wait_for_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

__device__ float2 unpacked(uint32_t both) {
  __nv_bfloat162 values;
  memcpy(&values, &both, sizeof(values));
  return __bfloat1622float2(values);
}

__device__ uint32_t packed(float low, float high) {
  const __nv_bfloat162 values = __floats2bfloat162_rn(low, high);
  uint32_t both;
  memcpy(&both, &values, sizeof(both));
  return both;
}

// kSide: pixels to each side that a result is made of. kChunk: channels of a chunk. kOut: of the result. A rectangle
// has kRows x kColumns pixels; of its warps, kAcross share its pixels, and kDown the channels of the result: each has
// kFragments rows of 16 pixels and kOut / kDown channels.
template <int kSide_, int kChunk_, int kOut_, int kColumns_, int kFragments_, int kDown_, int kBlocks_>
struct Form {
  static constexpr int kSide = kSide_, kChunk = kChunk_, kOut = kOut_, kColumns = kColumns_, kRows = 8;
  static constexpr int kFragments = kFragments_, kDown = kDown_;
  static constexpr int kBlocks = kBlocks_;  // on a multiprocessor
  static constexpr int kAcross = kRows * kColumns / 16 / kFragments, kThreads = 32 * kAcross * kDown;
  static constexpr int kTaps = kSide * kSide, kStride = kSide == 2 ? 2 : 1, kBefore = kSide / 3;  // pixels before it
  static constexpr int kOuterRows = kRows * kStride + kSide - kStride;
  static constexpr int kOuterColumns = kColumns * kStride + kSide - kStride;
  // Eight pixels, or eight channels of the result, one after the other lie in different banks.
  static constexpr int kPitch = 2 * kChunk + 16;
  static constexpr int kInput = kOuterRows * kOuterColumns * kPitch, kTap = kOut * kPitch;
  static constexpr int kVectors = kChunk / 8;  // of 16 bytes
  static_assert(kPitch / 16 % 2 == 1 && kChunk % 16 == 0 && kOut % (16 * kDown) == 0);
  static int bytes(int chunks) { return (chunks > 1 ? 2 : 1) * kInput + kStages * kTap; }
};

// top, left: of the rectangle.
template <typename F>
__device__ void load_input(const Convolution& a, int chunk, int n, int top, int left, uint32_t to) {
  Placed from = a.sources[0];
#pragma unroll
  for (int k = 1; k < kSources; ++k)
    if (chunk / a.of_source == k) from = a.sources[k];
  const __nv_bfloat16* first =
      static_cast<const __nv_bfloat16*>(from.data) + n * from.batch + chunk % a.of_source * F::kChunk;
  for (int i = threadIdx.x; i < F::kOuterRows * F::kOuterColumns * F::kVectors; i += F::kThreads) {
    const int pixel = i / F::kVectors, vector = i - pixel * F::kVectors;
    const int row = pixel / F::kOuterColumns, column = pixel - row * F::kOuterColumns;
    const int y = top * F::kStride + row - F::kBefore, x = left * F::kStride + column - F::kBefore;
    const bool outside = y < 0 || y >= a.height || x < 0 || x >= a.width;
    const __nv_bfloat16* at = outside ? first : first + y * from.row + x * from.pixel + 8 * vector;
    copy_in(to + pixel * F::kPitch + 16 * vector, at, outside);
  }
}

template <typename F>
__device__ void load_tap(const __nv_bfloat16* weight, int step, uint32_t to) {
  const __nv_bfloat16* from = weight + step * F::kOut * F::kChunk;
  for (int i = threadIdx.x; i < F::kOut * F::kVectors; i += F::kThreads) {
    const int row = i / F::kVectors, vector = i - row * F::kVectors;
    copy_in(to + row * F::kPitch + 16 * vector, from + 8 * i, false);
  }
}

template <typename F, After kAfter>
__global__ void __launch_bounds__(F::kThreads, F::kBlocks) convolution_kernel(Convolution a) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int kEach = F::kOut / F::kDown;  // channels of a warp
  const uint32_t taps = shared_address(memory), inputs = taps + kStages * F::kTap;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, across = warp / F::kDown, down = warp % F::kDown;
  constexpr int kQuarters = kAfter == After::kEnlarged ? 4 : 1;
  const int top = blockIdx.y * F::kRows, left = blockIdx.x * F::kColumns;
  const int n = blockIdx.z / kQuarters, quarter = blockIdx.z % kQuarters, steps = F::kTaps * a.chunks;
  const __nv_bfloat16* weight = a.weight + quarter * steps * F::kOut * F::kChunk;

  load_input<F>(a, 0, n, top, left, inputs);
  load_tap<F>(weight, 0, taps);
  commit();
  if (steps > 1) load_tap<F>(weight, 1, taps + F::kTap);
  commit();

  float sums[F::kFragments][kEach / 8][4] = {};
  // Where a lane's row of a fragment of 16 pixels begins, for the first tap; and that of 16 channels of the weights.
  uint32_t pixels[F::kFragments];
#pragma unroll
  for (int m = 0; m < F::kFragments; ++m) {
    constexpr int kOfRow = F::kColumns / 16;
    const int fragment = F::kFragments * across + m, y = fragment / kOfRow, x = fragment % kOfRow * 16 + lane % 16;
    pixels[m] = (y * F::kOuterColumns + x) * F::kStride * F::kPitch + lane / 16 * 16;
  }
  const uint32_t row = (down * kEach + lane / 16 * 8 + lane % 8) * F::kPitch + lane / 8 % 2 * 16;

  int tap = 0, chunk = 0, stage = 0;
  for (int step = 0; step < steps; ++step) {
    // An input that came with the step before is needed at once where there is but one tap.
    wait_for_groups<F::kTaps == 1 ? 0 : 1>();
    __syncthreads();
    // All warps are through with the step before: its weights make room, and at the first tap of a chunk, so does the
    // input of the chunk before.
    if (step + 2 < steps) load_tap<F>(weight, step + 2, taps + (stage + 2) % kStages * F::kTap);
    if (tap == 0 && chunk + 1 < a.chunks)
      load_input<F>(a, chunk + 1, n, top, left, inputs + (chunk + 1) % 2 * F::kInput);
    commit();
    const uint32_t input =
        inputs + chunk % 2 * F::kInput + (tap / F::kSide * F::kOuterColumns + tap % F::kSide) * F::kPitch;
    const uint32_t weights = taps + stage * F::kTap + row;
#pragma unroll
    for (int k = 0; k < F::kChunk / 16; ++k) {
      Fragment left_side[F::kFragments];
#pragma unroll
      for (int m = 0; m < F::kFragments; ++m) load_fragment(left_side[m], input + pixels[m] + 32 * k);
#pragma unroll
      for (int j = 0; j < kEach / 16; ++j) {
        Fragment right_side;
        load_fragment(right_side, weights + 16 * j * F::kPitch + 32 * k);
#pragma unroll
        for (int m = 0; m < F::kFragments; ++m) {
          multiply_bfloat(sums[m][2 * j], left_side[m], right_side[0], right_side[1]);
          multiply_bfloat(sums[m][2 * j + 1], left_side[m], right_side[2], right_side[3]);
        }
      }
    }
    stage = stage == kStages - 1 ? 0 : stage + 1;
    if (++tap == F::kTaps) tap = 0, ++chunk;
  }

  // Rows of the weights are laid out so that a lane has four channels beside each other in every two of its tiles.
  const int group = lane / 4, first = down * kEach + lane % 4 * 4;
#pragma unroll
  for (int m = 0; m < F::kFragments; ++m) {
    constexpr int kOfRow = F::kColumns / 16;
    const int fragment = F::kFragments * across + m, y = top + fragment / kOfRow;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int x = left + fragment % kOfRow * 16 + group + 8 * half;
      if (y >= a.out_height || x >= a.out_width) continue;
      int64_t pixel = (static_cast<int64_t>(n) * a.out_height + y) * a.out_width + x;
      if constexpr (kAfter == After::kEnlarged)
        pixel =
            ((static_cast<int64_t>(n) * a.out_height + y) * 2 + quarter / 2) * 2 * a.out_width + 2 * x + quarter % 2;
      pixel *= F::kOut;
#pragma unroll
      for (int j = 0; j < kEach / 16; ++j) {
        const int channel = first + 16 * j;
        float v[4] = {sums[m][2 * j][2 * half], sums[m][2 * j][2 * half + 1], sums[m][2 * j + 1][2 * half],
                      sums[m][2 * j + 1][2 * half + 1]};
        float4 bias = {};
        if constexpr (kAfter != After::kEnlarged) bias = *reinterpret_cast<const float4*>(a.bias + channel);
        if constexpr (kAfter == After::kResidual) {
          const float4 gain = *reinterpret_cast<const float4*>(a.gain + channel);
          const uint2 base = *reinterpret_cast<const uint2*>(a.base + pixel + channel);
          const float2 low = unpacked(base.x), high = unpacked(base.y);
          v[0] = low.x + (gain.x * v[0] + bias.x), v[1] = low.y + (gain.y * v[1] + bias.y);
          v[2] = high.x + (gain.z * v[2] + bias.z), v[3] = high.y + (gain.w * v[3] + bias.w);
        } else if constexpr (kAfter == After::kEnlarged) {
          const uint2 base = *reinterpret_cast<const uint2*>(a.out + pixel + channel);
          const float2 low = unpacked(base.x), high = unpacked(base.y);
          v[0] += low.x, v[1] += low.y, v[2] += high.x, v[3] += high.y;
        } else {
          v[0] += bias.x, v[1] += bias.y, v[2] += bias.z, v[3] += bias.w;
          if constexpr (kAfter == After::kGelu) {
#pragma unroll
            for (float& value : v) value = gelu(value);
          }
        }
        *reinterpret_cast<uint2*>(a.out + pixel + channel) = {packed(v[0], v[1]), packed(v[2], v[3])};
      }
    }
  }
}

template <typename F, After kAfter>
void launch(const Convolution& a, int64_t count, cudaStream_t stream) {
  const int bytes = F::bytes(a.chunks);
  allow_shared(convolution_kernel<F, kAfter>, bytes);
  const dim3 grid(blocks_for(a.out_width, F::kColumns), blocks_for(a.out_height, F::kRows),
                  static_cast<unsigned>(kAfter == After::kEnlarged ? 4 * count : count));
  convolution_kernel<F, kAfter><<<grid, F::kThreads, bytes, stream>>>(a);
}

// What a shape stands for: its chunk and channels. Calls body with the first of the forms that is of this one.
template <typename... Forms, typename Body>
void dispatch_form(int64_t chunk, int64_t channels, const char* name, Body&& body) {
  bool found = false;
  const auto attempt = [&](auto form) {
    using F = decltype(form);
    if (found || chunk != F::kChunk || channels != F::kOut) return;
    found = true;
    body(form);
  };
  (attempt(Forms{}), ...);
  STD_TORCH_CHECK(found, name, ": no kernel for ", channels, " channels from chunks of ", chunk);
}

// The arguments that all have. weight: [..., chunks, taps, C, K].
Convolution convolution_of(const std::vector<Tensor>& maps, const Tensor& weight, int64_t taps, const Tensor& out,
                           const char* name) {
  check_maps(out, name);
  check_contiguous(weight, name);
  const int64_t dims = weight.dim();
  STD_TORCH_CHECK(!maps.empty() && maps.size() <= kSources && dims >= 4 && weight.size(dims - 3) == taps, name,
                  ": expected 1 to ", kSources, " sets of maps and weights [chunks, ", taps, ", C, K]");
  const int64_t channels = out.size(1), chunk = weight.size(dims - 1), in = maps[0].size(1);
  STD_TORCH_CHECK(out.scalar_type() == ScalarType::BFloat16 && weight.scalar_type() == ScalarType::BFloat16 &&
                      weight.size(dims - 2) == channels && in % chunk == 0 &&
                      weight.size(dims - 4) * chunk == in * static_cast<int64_t>(maps.size()),
                  name, ": expected bfloat16, and weights of the channels of maps and result");
  Convolution a{};
  a.height = static_cast<int>(maps[0].size(2)), a.width = static_cast<int>(maps[0].size(3));
  a.of_source = static_cast<int>(in / chunk), a.chunks = static_cast<int>(weight.size(dims - 4));
  for (size_t i = 0; i < maps.size(); ++i) {
    const Placed p = a.sources[i] = placed(maps[i], out, name);
    STD_TORCH_CHECK(maps[i].size(1) == in && maps[i].size(2) == a.height && maps[i].size(3) == a.width, name,
                    ": expected maps of one shape");
    STD_TORCH_CHECK(aligned(p.data, kBytes) && p.batch % 8 == 0 && p.row % 8 == 0 && p.pixel % 8 == 0, name,
                    ": expected pixels at multiples of 16 bytes");
  }
  a.weight = static_cast<const __nv_bfloat16*>(weight.const_data_ptr());
  a.out = static_cast<__nv_bfloat16*>(out.mutable_data_ptr());
  STD_TORCH_CHECK(aligned(a.weight, kBytes) && aligned(a.out, kBytes), name,
                  ": expected weights and result at multiples of 16 bytes");
  return a;
}

const float* vector_of(const Tensor& values, int64_t channels, const char* name) {
  check_contiguous(values, name);
  STD_TORCH_CHECK(values.numel() == channels && aligned(values.const_data_ptr(), kBytes), name,
                  ": expected one value a channel, at a multiple of 16 bytes");
  return values.const_data_ptr<float>();
}

void expect_size(const Tensor& out, int64_t height, int64_t width, const char* name) {
  STD_TORCH_CHECK(out.size(2) == height && out.size(3) == width, name, ": expected a result of ", height, " x ", width);
}

void convolve_out(const std::vector<Tensor>& maps, const Tensor& weight, const Tensor& bias, std::optional<Tensor> gain,
                  std::optional<Tensor> base, bool gelu, Tensor out) {
  const char* name = "convolve";
  const int64_t channels = out.size(1);
  Convolution a = convolution_of(maps, weight, 9, out, name);
  expect_size(out, a.height, a.width, name);
  a.out_height = a.height, a.out_width = a.width;
  a.bias = vector_of(bias, channels, name);
  STD_TORCH_CHECK(gain.has_value() == base.has_value() && !(gelu && gain.has_value()), name,
                  ": expected base and gain of a residual, or an activation");
  if (gain.has_value()) {
    check_maps(*base, name);
    a.gain = vector_of(*gain, channels, name);
    a.base = static_cast<const __nv_bfloat16*>(base->const_data_ptr());
    STD_TORCH_CHECK(
        base->numel() == out.numel() && base->scalar_type() == ScalarType::BFloat16 && aligned(a.base, kBytes), name,
        ": expected a base like the result");
  }
  if (out.numel() == 0) return;
  dispatch_form<Form<3, 48, 48, 32, 4, 1, 3>, Form<3, 32, 48, 32, 4, 1, 3>, Form<3, 16, 48, 32, 4, 1, 3>,
                Form<3, 48, 96, 16, 4, 2, 3>, Form<3, 32, 128, 16, 4, 2, 2>, Form<3, 48, 16, 32, 4, 1, 3>,
                Form<3, 32, 64, 32, 4, 1, 2>, Form<3, 16, 64, 32, 4, 1, 2>, Form<3, 32, 16, 32, 4, 1, 3>,
                Form<3, 32, 192, 16, 4, 3, 1>>(weight.size(3), channels, name, [&](auto form) {
    using F = decltype(form);
    launch_on(out, [&](cudaStream_t stream) {
      if (a.gain != nullptr) {
        launch<F, After::kResidual>(a, out.size(0), stream);
      } else if (gelu) {
        launch<F, After::kGelu>(a, out.size(0), stream);
      } else {
        launch<F, After::kBias>(a, out.size(0), stream);
      }
    });
  });
}

void convolve_halving_out(const Tensor& maps, const Tensor& weight, const Tensor& bias, Tensor out) {
  const char* name = "convolve_halving";
  Convolution a = convolution_of({maps}, weight, 4, out, name);
  STD_TORCH_CHECK(a.height % 2 == 0 && a.width % 2 == 0, name, ": expected maps of even height and width");
  a.out_height = a.height / 2, a.out_width = a.width / 2;
  expect_size(out, a.out_height, a.out_width, name);
  a.bias = vector_of(bias, out.size(1), name);
  if (out.numel() == 0) return;
  dispatch_form<Form<2, 48, 96, 16, 4, 2, 2>, Form<2, 16, 128, 16, 4, 2, 2>, Form<2, 16, 192, 16, 4, 3, 1>>(
      weight.size(3), out.size(1), name, [&](auto form) {
        launch_on(out, [&](cudaStream_t stream) { launch<decltype(form), After::kBias>(a, out.size(0), stream); });
      });
}

void convolve_enlarging_(Tensor maps, const Tensor& below, const Tensor& weight) {
  const char* name = "convolve_enlarging";
  Convolution a = convolution_of({below}, weight, 1, maps, name);
  STD_TORCH_CHECK(weight.dim() == 5 && weight.size(0) == 4, name, ": expected weights [4, chunks, 1, C, K]");
  expect_size(maps, 2 * a.height, 2 * a.width, name);
  a.out_height = a.height, a.out_width = a.width;
  if (maps.numel() == 0) return;
  dispatch_form<Form<1, 48, 48, 32, 4, 1, 3>, Form<1, 32, 96, 16, 4, 2, 3>, Form<1, 32, 64, 32, 4, 1, 2>,
                Form<1, 32, 128, 16, 4, 2, 2>>(weight.size(4), maps.size(1), name, [&](auto form) {
    launch_on(maps, [&](cudaStream_t stream) { launch<decltype(form), After::kEnlarged>(a, maps.size(0), stream); });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("convolve_out", TORCH_BOX(&convolve_out));
  m.impl("convolve_halving_out", TORCH_BOX(&convolve_halving_out));
  m.impl("convolve_enlarging_", TORCH_BOX(&convolve_enlarging_));
}
