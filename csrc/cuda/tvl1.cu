// TV-L1 optical flow of many pairs at once. Every launch is decided by shapes and settings alone, nothing is read back,
// so a caller may capture the whole of it in a CUDA graph.
#include <algorithm>

#include "cuda/launch.h"
#include "tvl1.h"

namespace {

using namespace vnls;

constexpr int kThreads = 256;
constexpr int kPlanes = 16;  // of the size of an image that a pair needs beside its pyramid: flow, dual twice; linear

// Images of a batch of pairs, or planes of them, `stride` elements from pair to pair.
template <typename T>
struct Stack {
  T* data;
  int64_t stride;
};

struct Size {
  int height, width;
  __host__ __device__ int64_t area() const { return int64_t(height) * width; }
};

// The pixel of a thread, pairs outermost.
struct Pixel {
  int64_t pair;
  int y, x;

  __device__ Pixel(int64_t index, Size size) {
    pair = index / size.area();
    const int within = static_cast<int>(index - pair * size.area());
    y = within / size.width;
    x = within - y * size.width;
  }
};

template <typename T>
__global__ void halve_kernel(Stack<const T> fine, Size fine_size, Stack<T> coarse, Size size, int64_t total) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const Pixel at(index, size);
  const T* from = fine.data + at.pair * fine.stride;
  T column[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int x = clamped(2 * at.x + i - 1, 0, fine_size.width - 1);
    T samples[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      samples[j] = from[int64_t(clamped(2 * at.y + j - 1, 0, fine_size.height - 1)) * fine_size.width + x];
    }
    column[i] = binomial(samples[0], samples[1], samples[2], samples[3]);
  }
  coarse.data[at.pair * coarse.stride + int64_t(at.y) * size.width + at.x] =
      binomial(column[0], column[1], column[2], column[3]);
}

template <typename T>
__global__ void double_kernel(Stack<const T> coarse, Size coarse_size, Stack<T> fine, Size size, int64_t total) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const Pixel at(index, size);
  const Between<T> row(at.y, coarse_size.height), column(at.x, coarse_size.width);
  const T* from = coarse.data + at.pair * coarse.stride;
  T* to = fine.data + at.pair * fine.stride + int64_t(at.y) * size.width + at.x;
  to[0] = finer_flow(from, coarse_size.width, row, column);
  to[size.area()] = finer_flow(from + coarse_size.area(), coarse_size.width, row, column);
}

template <typename T>
__global__ void median_kernel(Stack<const T> flow, Stack<T> out, Size size, int64_t total) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const Pixel at(index, size);
  const int left = at.x > 0 ? at.x - 1 : 0, right = at.x + 1 < size.width ? at.x + 1 : at.x;
  const int64_t here = int64_t(at.y) * size.width;
  const int64_t above = at.y > 0 ? here - size.width : here, below = at.y + 1 < size.height ? here + size.width : here;
#pragma unroll
  for (int channel = 0; channel < 2; ++channel) {
    const T* from = flow.data + at.pair * flow.stride + channel * size.area();
    out.data[at.pair * out.stride + channel * size.area() + here + at.x] = median_of_nine(
        from[above + left], from[above + at.x], from[above + right], from[here + left], from[here + at.x],
        from[here + right], from[below + left], from[below + at.x], from[below + right]);
  }
}

template <typename T>
__global__ void linearise_kernel(Stack<const T> source, Stack<const T> target, Stack<const T> flow, Stack<T> linear,
                                 Size size, int64_t total) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= total) return;
  const Pixel at(index, size);
  const int64_t offset = int64_t(at.y) * size.width + at.x;
  const T* u = flow.data + at.pair * flow.stride + offset;
  const Linear<T> term = linearised(target.data + at.pair * target.stride, size.height, size.width, at.x, at.y,
                                    source.data[at.pair * source.stride + offset], u[0], u[size.area()]);
  T* to = linear.data + at.pair * linear.stride + offset;
  to[0] = term.constant;
  to[size.area()] = term.gx;
  to[2 * size.area()] = term.gy;
  to[3 * size.area()] = term.inverse;
}

// A block iterates on a tile: its pixels live in registers, neighbours are read through shared memory. Each iteration
// spoils one more pixel along the tile's rim, so a tile is loaded with a rim of `steps` pixels that is not stored,
// unless the image fits into the tile along that axis. Six planes of a tile fill the 48 KiB of static shared memory.
template <typename T>
struct Tile {
  static constexpr int kWidth = sizeof(T) == sizeof(float) ? 64 : 32;
  static constexpr int kHeight = 32;
  static constexpr int kRows = 4;  // of a thread, one below the other
  static constexpr int kThreads = kWidth * kHeight / kRows;
  static constexpr int kBlocks = sizeof(T) == sizeof(float) ? 2 : 1;  // of a multiprocessor: one computes, one waits
};

struct Tiling {
  int rim_x, rim_y, steps;
  int columns, rows;  // tiles of an image
};

template <typename T>
__global__ void __launch_bounds__(Tile<T>::kThreads, Tile<T>::kBlocks)
    iterate_kernel(Stack<const T> flow_in, Stack<const T> dual_in, Stack<const T> linear, Stack<T> flow_out,
                   Stack<T> dual_out, Size size, Tiling tiling, T threshold, T tightness, T step, bool dual_is_zero) {
  constexpr int kWidth = Tile<T>::kWidth, kHeight = Tile<T>::kHeight, kRows = Tile<T>::kRows;
  __shared__ T shared_u[kHeight][kWidth], shared_v[kHeight][kWidth];
  __shared__ T shared_ux[kHeight][kWidth], shared_uy[kHeight][kWidth];
  __shared__ T shared_vx[kHeight][kWidth], shared_vy[kHeight][kWidth];

  const int tiles = tiling.columns * tiling.rows;
  const int64_t pair = blockIdx.x / tiles;
  const int tile = static_cast<int>(blockIdx.x - pair * tiles);
  const int tile_y = tile / tiling.columns, tile_x = tile - tile_y * tiling.columns;
  const int column = threadIdx.x, first_row = threadIdx.y * kRows;
  const int x = tile_x * (kWidth - 2 * tiling.rim_x) - tiling.rim_x + column;
  const int first_y = tile_y * (kHeight - 2 * tiling.rim_y) - tiling.rim_y + first_row;
  const int64_t area = size.area();

  T u[kRows], v[kRows], ux[kRows], uy[kRows], vx[kRows], vy[kRows];
  T constant[kRows], gx[kRows], gy[kRows], inverse[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int y = first_y + r;
    u[r] = v[r] = ux[r] = uy[r] = vx[r] = vy[r] = constant[r] = gx[r] = gy[r] = inverse[r] = 0;
    if (x >= 0 && x < size.width && y >= 0 && y < size.height) {
      const int64_t offset = int64_t(y) * size.width + x;
      const T* flow = flow_in.data + pair * flow_in.stride + offset;
      u[r] = flow[0];
      v[r] = flow[area];
      if (!dual_is_zero) {
        const T* dual = dual_in.data + pair * dual_in.stride + offset;
        ux[r] = dual[0];
        uy[r] = dual[area];
        vx[r] = dual[2 * area];
        vy[r] = dual[3 * area];
      }
      const T* term = linear.data + pair * linear.stride + offset;
      constant[r] = term[0];
      gx[r] = term[area];
      gy[r] = term[2 * area];
      inverse[r] = term[3 * area];
    }
    shared_ux[first_row + r][column] = ux[r];
    shared_uy[first_row + r][column] = uy[r];
    shared_vx[first_row + r][column] = vx[r];
    shared_vy[first_row + r][column] = vy[r];
  }

  // Neighbours beyond the tile are replaced by the pixel itself: wrong, but only within the rim.
  const int left = column > 0 ? column - 1 : column, right = column + 1 < kWidth ? column + 1 : column;
  const int above = first_row > 0 ? first_row - 1 : first_row;
  const int below = first_row + kRows < kHeight ? first_row + kRows : first_row + kRows - 1;
  const bool has_left = x > 0, has_right = x + 1 < size.width;

  for (int k = 0; k < tiling.steps; ++k) {
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = first_row + r;
      const T uy_above = first_y + r > 0 ? (r > 0 ? uy[r > 0 ? r - 1 : 0] : shared_uy[above][column]) : T(0);
      const T vy_above = first_y + r > 0 ? (r > 0 ? vy[r > 0 ? r - 1 : 0] : shared_vy[above][column]) : T(0);
      const T ux_left = has_left ? shared_ux[row][left] : T(0);
      const T vx_left = has_left ? shared_vx[row][left] : T(0);
      const T along = shrinkage(constant[r], gx[r], gy[r], inverse[r], u[r], v[r], threshold);
      u[r] += along * gx[r] + tightness * ((ux[r] - ux_left) + (uy[r] - uy_above));
      v[r] += along * gy[r] + tightness * ((vx[r] - vx_left) + (vy[r] - vy_above));
      shared_u[row][column] = u[r];
      shared_v[row][column] = v[r];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = first_row + r;
      const bool has_below = first_y + r + 1 < size.height;
      const T u_below = r + 1 < kRows ? u[r + 1 < kRows ? r + 1 : r] : shared_u[below][column];
      const T v_below = r + 1 < kRows ? v[r + 1 < kRows ? r + 1 : r] : shared_v[below][column];
      const T u_x = has_right ? shared_u[row][right] - u[r] : T(0);
      const T v_x = has_right ? shared_v[row][right] - v[r] : T(0);
      const T u_y = has_below ? u_below - u[r] : T(0);
      const T v_y = has_below ? v_below - v[r] : T(0);
      const T u_scale = dual_scale(u_x, u_y, step), v_scale = dual_scale(v_x, v_y, step);
      ux[r] = (ux[r] + step * u_x) * u_scale;
      uy[r] = (uy[r] + step * u_y) * u_scale;
      vx[r] = (vx[r] + step * v_x) * v_scale;
      vy[r] = (vy[r] + step * v_y) * v_scale;
      shared_ux[row][column] = ux[r];
      shared_vx[row][column] = vx[r];
      if (r + 1 < kRows) continue;  // within a thread's own rows nobody else looks at what is above
      shared_uy[row][column] = uy[r];
      shared_vy[row][column] = vy[r];
    }
  }

  if (x < 0 || x >= size.width || column < tiling.rim_x || column >= kWidth - tiling.rim_x) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int y = first_y + r, row = first_row + r;
    if (y < 0 || y >= size.height || row < tiling.rim_y || row >= kHeight - tiling.rim_y) continue;
    const int64_t offset = int64_t(y) * size.width + x;
    T* flow = flow_out.data + pair * flow_out.stride + offset;
    flow[0] = u[r];
    flow[area] = v[r];
    T* dual = dual_out.data + pair * dual_out.stride + offset;
    dual[0] = ux[r];
    dual[area] = uy[r];
    dual[2 * area] = vx[r];
    dual[3 * area] = vy[r];
  }
}

// How many iterations a launch makes, and on which tiles; the result does not depend on it. A wider rim wastes
// arithmetic and saves launches: worth it while the tiles do not fill the device anyway.
template <typename T>
Tiling tiling_of(Size size, int64_t pairs, int iterations) {
  constexpr int kFewSteps = 5, kManySteps = 10;
  constexpr int64_t kBlocksThatFill = 256;
  const bool fits_x = size.width <= Tile<T>::kWidth, fits_y = size.height <= Tile<T>::kHeight;
  const auto with = [&](int steps) {
    Tiling tiling{fits_x ? 0 : steps, fits_y ? 0 : steps, steps, 0, 0};
    tiling.columns = static_cast<int>(blocks_for(size.width, Tile<T>::kWidth - 2 * tiling.rim_x));
    tiling.rows = static_cast<int>(blocks_for(size.height, Tile<T>::kHeight - 2 * tiling.rim_y));
    return tiling;
  };
  if (fits_x && fits_y) return with(iterations);
  const Tiling many = with(std::min(iterations, kManySteps));
  return pairs * many.columns * many.rows <= kBlocksThatFill ? many : with(std::min(iterations, kFewSteps));
}

template <typename T>
Stack<const T> constant(Stack<T> stack) {
  return {stack.data, stack.stride};
}

template <typename T>
struct Pyramid {
  Stack<const T> levels[kMaxFlowLevels];
};

// The images themselves are level 0; the coarser ones are made in `memory`, which is advanced beyond them.
template <typename T>
Pyramid<T> build_pyramid(const T* images, const Size* sizes, int levels, int64_t pairs, Stack<T>& memory,
                         cudaStream_t stream) {
  Pyramid<T> pyramid;
  pyramid.levels[0] = {images, sizes[0].area()};
  for (int level = 1; level < levels; ++level) {
    const int64_t total = pairs * sizes[level].area();
    halve_kernel<T><<<blocks_for(total, kThreads), kThreads, 0, stream>>>(pyramid.levels[level - 1], sizes[level - 1],
                                                                          memory, sizes[level], total);
    pyramid.levels[level] = constant(memory);
    memory.data += sizes[level].area();
  }
  return pyramid;
}

template <typename T>
void solve(const T* sources, const T* targets, Size size, int64_t pairs, Stack<T> memory, T* out,
           const FlowSettings<T>& settings, cudaStream_t stream) {
  Size sizes[kMaxFlowLevels] = {size};
  for (int level = 1; level < settings.levels; ++level) {
    sizes[level] = {coarser(sizes[level - 1].height), coarser(sizes[level - 1].width)};
  }
  const Pyramid<T> source = build_pyramid(sources, sizes, settings.levels, pairs, memory, stream);
  const Pyramid<T> target = build_pyramid(targets, sizes, settings.levels, pairs, memory, stream);
  const auto planes = [&](int first) { return Stack<T>{memory.data + first * size.area(), memory.stride}; };
  // What a kernel makes of `flow` and `dual` goes into the others, then they change places.
  Stack<T> flow = planes(0), other_flow = planes(2), dual = planes(4), other_dual = planes(8);
  const Stack<T> linear = planes(12);
  const Stack<T> result{out, 2 * size.area()};
  for (int level = settings.levels - 1; level >= 0; --level) {
    const Size here = sizes[level];
    const int64_t total = pairs * here.area();
    const unsigned blocks = blocks_for(total, kThreads);
    if (level == settings.levels - 1) {
      STD_CUDA_CHECK(
          cudaMemset2DAsync(flow.data, flow.stride * sizeof(T), 0, 2 * here.area() * sizeof(T), pairs, stream));
    } else {
      double_kernel<T><<<blocks, kThreads, 0, stream>>>(constant(flow), sizes[level + 1], other_flow, here, total);
      std::swap(flow, other_flow);
    }
    const Tiling tiling = tiling_of<T>(here, pairs, settings.iterations);
    const dim3 threads(Tile<T>::kWidth, Tile<T>::kHeight / Tile<T>::kRows);
    const unsigned tiles = static_cast<unsigned>(pairs * tiling.columns * tiling.rows);
    const int warps = level > 0 ? settings.coarse_warps : settings.warps;
    for (int warp = 0; warp < warps; ++warp) {
      linearise_kernel<T><<<blocks, kThreads, 0, stream>>>(source.levels[level], target.levels[level], constant(flow),
                                                           linear, here, total);
      for (int done = 0; done < settings.iterations; done += tiling.steps) {
        Tiling now = tiling;
        now.steps = std::min(tiling.steps, settings.iterations - done);
        iterate_kernel<T><<<tiles, threads, 0, stream>>>(constant(flow), constant(dual), constant(linear), other_flow,
                                                         other_dual, here, now, settings.threshold, settings.tightness,
                                                         settings.step, warp == 0 && done == 0);
        std::swap(flow, other_flow);
        std::swap(dual, other_dual);
      }
      const bool last = level == 0 && warp == warps - 1;
      median_kernel<T><<<blocks, kThreads, 0, stream>>>(constant(flow), last ? result : other_flow, here, total);
      std::swap(flow, other_flow);
    }
  }
}

// workspace: [pairs, elements].
void tvl1_flow_out(const Tensor& source, const Tensor& target, double attachment, double tightness, double step,
                   int64_t levels, int64_t warps, int64_t coarse_warps, int64_t iterations, Tensor workspace,
                   Tensor flow) {
  const char* name = "tvl1_flow";
  check_contiguous(source, name);
  check_contiguous(target, name);
  check_contiguous(workspace, name);
  check_contiguous(flow, name);
  STD_TORCH_CHECK(levels >= 1 && levels <= kMaxFlowLevels, name, ": expected 1 to ", kMaxFlowLevels, " levels");
  if (flow.numel() == 0) return;
  const int64_t pairs = source.size(0), elements = workspace.size(1);
  const Size size{static_cast<int>(source.size(1)), static_cast<int>(source.size(2))};
  STD_TORCH_CHECK(workspace.size(0) == pairs &&
                      elements >= flow_elements(size.height, size.width, static_cast<int>(levels), kPlanes),
                  name, ": workspace is too small");
  dispatch_floating(source, name, [&](auto zero) {
    using T = decltype(zero);
    launch_on(source, [&](cudaStream_t stream) {
      solve<T>(source.const_data_ptr<T>(), target.const_data_ptr<T>(), size, pairs,
               {workspace.mutable_data_ptr<T>(), elements}, flow.mutable_data_ptr<T>(),
               flow_settings<T>(attachment, tightness, step, levels, warps, coarse_warps, iterations), stream);
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("tvl1_flow_out", TORCH_BOX(&tvl1_flow_out)); }
