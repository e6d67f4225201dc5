// Shifted non-local search with the top-k fused in: one warp a query, its lanes over candidates, the list of nearest
// patches in registers, sorted across the lanes.
#include <math_constants.h>

#include "cuda/launch.h"
#include "search.h"
#include "window.h"

namespace {

using namespace vnls;

using Key = unsigned long long;  // distance bits + 1 above, ordinal in the order (t, y, x) below: ties break by it
constexpr Key kNone = ~0ull;
constexpr unsigned kAll = 0xffffffffu;
constexpr int kLanes = 32;

__device__ Key smaller(Key a, Key b) { return a < b ? a : b; }
__device__ Key larger(Key a, Key b) { return a < b ? b : a; }

// Sorts a bitonic sequence of one key a lane.
__device__ Key merge_bitonic(Key key, int lane) {
#pragma unroll
  for (int j = kLanes / 2; j > 0; j >>= 1) {
    const Key other = __shfl_xor_sync(kAll, key, j);
    key = (lane & j) == 0 ? smaller(key, other) : larger(key, other);
  }
  return key;
}

__device__ Key sort_lanes(Key key, int lane) {
#pragma unroll
  for (int k = 2; k <= kLanes; k <<= 1) {
#pragma unroll
    for (int j = k / 2; j > 0; j >>= 1) {
      const Key other = __shfl_xor_sync(kAll, key, j);
      const bool ascending = (lane & k) == 0, lower = (lane & j) == 0;
      key = ascending == lower ? smaller(key, other) : larger(key, other);
    }
  }
  return key;
}

// The kSlots * 32 smallest keys seen, ascending by (slot, lane).
template <int kSlots>
struct Nearest {
  Key keys[kSlots];

  __device__ Nearest() {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) keys[s] = kNone;
  }

  __device__ void insert(Key key, int lane) {
    const Key worst = __shfl_sync(kAll, keys[kSlots - 1], kLanes - 1);
    if (!__any_sync(kAll, key < worst)) return;
    key = sort_lanes(key, lane);
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      const Key reversed = __shfl_sync(kAll, key, kLanes - 1 - lane);
      const Key low = smaller(keys[s], reversed), high = larger(keys[s], reversed);
      keys[s] = merge_bitonic(low, lane);
      if (s + 1 < kSlots) key = merge_bitonic(high, lane);
    }
  }

  __device__ Key at(int rank) const {
    Key found = kNone;
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      const Key candidate = __shfl_sync(kAll, keys[s], rank % kLanes);
      if (rank / kLanes == s) found = candidate;
    }
    return found;
  }
};

// Row stride of a staged window: candidate i of a window `across` wide then lies in bank i, whatever its row.
__host__ __device__ int tile_stride(int across) { return across + kLanes; }

__host__ __device__ int tile_floats(int side, int patch) { return (side + patch - 1) * tile_stride(side); }

template <int kSlots, int kPatch>
__global__ void __launch_bounds__(128) search_kernel(const __grid_constant__ SearchArgs<float> a, int warp_floats) {
  extern __shared__ float shared[];
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int64_t n = blockIdx.x * int64_t(blockDim.x / kLanes) + warp;
  if (n >= a.count) return;
  const int p = kPatch ? kPatch : a.patch;
  float* tile = shared + warp * warp_floats;
  float* query = tile + tile_floats(a.side > a.side_other ? a.side : a.side_other, p);
  const Point at = clamp_query(a.queries + 2 * n, p, a.height, a.width);
  const float* own = a.guide.data[a.own] + int64_t(at.y) * a.width + at.x;
  for (int i = lane; i < p * p; i += kLanes) query[i] = own[int64_t(i / p) * a.width + i % p];

  Nearest<kSlots> nearest;
  int first = 0;
  for (int f = 0; f < a.guide.count; ++f) {
    const int* centre = a.centres + (n * a.guide.count + f) * 2;
    const bool is_own = f == a.own;
    const Window window = place_window({centre[0], centre[1]}, is_own ? a.side : a.side_other, p, a.height, a.width);
    const int rows = window.height + p - 1, columns = window.width + p - 1, stride = tile_stride(window.width);
    const float* from = a.guide.data[f] + int64_t(window.y) * a.width + window.x;
    __syncwarp();
    for (int i = lane; i < rows * columns; i += kLanes) {
      const int y = i / columns, x = i - y * columns;
      tile[y * stride + x] = from[int64_t(y) * a.width + x];
    }
    __syncwarp();
    const int count = window.height * window.width;
    const int self = is_own ? ordinal_in(window, at) : -1;
    for (int start = 0; start < count; start += kLanes) {
      const int i = start + lane;
      Key key = kNone;
      if (i < count) {
        const int y = i / window.width, x = i - y * window.width;
        const float* candidate = tile + y * stride + x;
        float sum = 0;
#pragma unroll
        for (int dy = 0; dy < p; ++dy) {
#pragma unroll
          for (int dx = 0; dx < p; ++dx) {
            const float difference = candidate[dy * stride + dx] - query[dy * p + dx];
            sum = fmaf(difference, difference, sum);
          }
        }
        if (!(sum == sum)) sum = CUDART_INF_F;  // NaN goes last
        key = (Key(__float_as_uint(sum)) + 1) << 32 | Key(first + i);
        if (i == self) key = first + i;  // the query itself is the first of its group
      }
      nearest.insert(key, lane);
    }
    first += count;
  }

  const int kept = first < a.neighbors ? first : a.neighbors;
  for (int start = 0; start < a.neighbors; start += kLanes) {
    const int k = start + lane;
    const Key key = nearest.at(k % kept);
    if (k >= a.neighbors) continue;
    int within = static_cast<int>(key & 0xffffffffu), f = 0;
    Window window;
    for (;; ++f) {
      const int* centre = a.centres + (n * a.guide.count + f) * 2;
      window = place_window({centre[0], centre[1]}, f == a.own ? a.side : a.side_other, p, a.height, a.width);
      if (within < window.height * window.width) break;
      within -= window.height * window.width;
    }
    const unsigned distance = static_cast<unsigned>(key >> 32);
    a.distances[n * a.neighbors + k] = distance ? __uint_as_float(distance - 1) : 0.f;
    int* offset = a.offsets + (n * a.neighbors + k) * 3;
    offset[0] = f - a.own;
    offset[1] = window.y + within / window.width - at.y;
    offset[2] = window.x + within % window.width - at.x;
  }
}

template <int kSlots, int kPatch>
void launch_search(const SearchArgs<float>& a, cudaStream_t stream) {
  const int warp_floats = tile_floats(a.side > a.side_other ? a.side : a.side_other, a.patch) + a.patch * a.patch;
  const int bytes = warp_floats * static_cast<int>(sizeof(float));
  int warps = 4;
  while (warps > 1 && warps * bytes > (48 << 10)) warps /= 2;
  if (warps * bytes > (48 << 10)) {
    STD_CUDA_CHECK(cudaFuncSetAttribute(search_kernel<kSlots, kPatch>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        warps * bytes));
  }
  search_kernel<kSlots, kPatch><<<blocks_for(a.count, warps), warps * kLanes, warps * bytes, stream>>>(a, warp_floats);
}

template <int kSlots>
void launch_patch(const SearchArgs<float>& a, cudaStream_t stream) {
  switch (a.patch) {
    case 8:
      return launch_search<kSlots, 8>(a, stream);
    case 10:
      return launch_search<kSlots, 10>(a, stream);
    case 12:
      return launch_search<kSlots, 12>(a, stream);
    default:
      return launch_search<kSlots, 0>(a, stream);
  }
}

void search_out(std::vector<Tensor> guide, const Tensor& queries, const Tensor& centres, int64_t frame, int64_t patch,
                int64_t side, int64_t side_other, Tensor distances, Tensor offsets) {
  const SearchArgs<float> a{const_frames<float>(guide, "search"),
                            static_cast<int>(guide[0].size(0)),
                            static_cast<int>(guide[0].size(1)),
                            queries.const_data_ptr<int>(),
                            centres.const_data_ptr<int>(),
                            queries.size(0),
                            static_cast<int>(frame),
                            static_cast<int>(patch),
                            static_cast<int>(side),
                            static_cast<int>(side_other),
                            static_cast<int>(offsets.size(1)),
                            distances.mutable_data_ptr<float>(),
                            offsets.mutable_data_ptr<int>()};
  if (a.count == 0) return;
  launch_on(guide[0], [&](cudaStream_t stream) {
    switch ((a.neighbors + kLanes - 1) / kLanes) {
      case 1:
        return launch_patch<1>(a, stream);
      case 2:
        return launch_patch<2>(a, stream);
      default:
        return launch_patch<4>(a, stream);
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("search_out", TORCH_BOX(&search_out)); }
