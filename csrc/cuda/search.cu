// Shifted non-local search with the top-k fused in: one warp a query, its lanes over candidates, the list of nearest
// patches in registers, sorted across the lanes.
#include <math_constants.h>

#include "cuda/chain_flow.h"
#include "cuda/launch.h"
#include "cuda/nearest.cuh"
#include "search_args.h"
#include "window.h"

namespace {

using namespace vnls;

constexpr float kFirst = -1;  // sorts the query itself before every distance

// Row stride of a staged window: candidate i of a window `across` wide then lies in bank i, whatever its row.
__host__ __device__ int tile_stride(int across) { return across + kWarp; }

__host__ __device__ int tile_floats(int side, int patch) { return (side + patch - 1) * tile_stride(side); }

// Row stride of the staged query: every row can be read four samples at a time.
__host__ __device__ constexpr int query_stride(int patch) { return (patch + 3) / 4 * 4; }

template <int kSlots, int kPatch>
__global__ void __launch_bounds__(128) search_kernel(const __grid_constant__ SearchArgs<float> a, int warp_floats) {
  extern __shared__ float4 search_shared[];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t n = blockIdx.x * int64_t(blockDim.x / kWarp) + warp;
  if (n >= a.count) return;
  const int p = kPatch ? kPatch : a.patch;
  // The query first: wide loads need its alignment.
  float* query = reinterpret_cast<float*>(search_shared) + warp * warp_floats;
  const int query_row = query_stride(p);
  float* tile = query + p * query_row;
  const Point at = clamp_query(a.queries + 2 * n, p, a.height, a.width);
  const float* own = a.guide.data[a.own] + int64_t(at.y) * a.width + at.x;
  for (int i = lane; i < p * p; i += kWarp) query[i / p * query_row + i % p] = own[int64_t(i / p) * a.width + i % p];

  Nearest<float, kSlots> nearest;
  nearest.clear();
  int first = 0;
  for (int f = 0; f < a.guide.count; ++f) {
    const int* centre = a.centres + (n * a.guide.count + f) * 2;
    const bool is_own = f == a.own;
    const Window window = place_window({centre[0], centre[1]}, is_own ? a.side : a.side_other, p, a.height, a.width);
    const int rows = window.height + p - 1, columns = window.width + p - 1, stride = tile_stride(window.width);
    const float* from = a.guide.data[f] + int64_t(window.y) * a.width + window.x;
    __syncwarp();
    for (int i = lane; i < rows * columns; i += kWarp) {
      const int y = i / columns, x = i - y * columns;
      tile[y * stride + x] = from[int64_t(y) * a.width + x];
    }
    __syncwarp();
    const int count = window.height * window.width;
    const int self = is_own ? ordinal_in(window, at) : -1;
    for (int start = 0; start < count; start += kWarp) {
      const int i = start + lane;
      auto rank = Rank<float>::none();
      if (i < count) {
        const int y = i / window.width, x = i - y * window.width;
        const float* candidate = tile + y * stride + x;
        float sum = 0;
#pragma unroll
        for (int dy = 0; dy < p; ++dy) {
#pragma unroll
          for (int dx = 0; dx < p; dx += 4) {
            // The same for all lanes: as few loads as there can be.
            const float4 four = *reinterpret_cast<const float4*>(query + dy * query_row + dx);
            const float wanted[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int w = 0; w < 4; ++w) {
              if (dx + w >= p) break;
              const float difference = candidate[dy * stride + dx + w] - wanted[w];
              sum = fmaf(difference, difference, sum);
            }
          }
        }
        if (!(sum == sum)) sum = CUDART_INF_F;  // NaN goes last
        rank = Rank<float>::of(i == self ? kFirst : sum, first + i);
      }
      nearest.insert(rank, lane, a.neighbors - 1);
    }
    first += count;
  }

  const int kept = first < a.neighbors ? first : a.neighbors;
  for (int start = 0; start < a.neighbors; start += kWarp) {
    const int k = start + lane;
    const Rank<float> rank = nearest.place(k % kept);
    if (k >= a.neighbors) continue;
    int within = rank.ordinal(), f = 0;
    Window window;
    for (;; ++f) {
      const int* centre = a.centres + (n * a.guide.count + f) * 2;
      window = place_window({centre[0], centre[1]}, f == a.own ? a.side : a.side_other, p, a.height, a.width);
      if (within < window.height * window.width) break;
      within -= window.height * window.width;
    }
    a.distances[n * a.neighbors + k] = fmaxf(rank.key(), 0);
    int* offset = a.offsets + (n * a.neighbors + k) * 3;
    offset[0] = f - a.own;
    offset[1] = window.y + within / window.width - at.y;
    offset[2] = window.x + within % window.width - at.x;
  }
}

template <int kSlots, int kPatch>
void launch_search(const SearchArgs<float>& a, cudaStream_t stream) {
  const int side = a.side > a.side_other ? a.side : a.side_other;
  const int warp_floats = (tile_floats(side, a.patch) + a.patch * query_stride(a.patch) + 3) / 4 * 4;
  const int bytes = warp_floats * static_cast<int>(sizeof(float));
  const int warps = warps_that_fit(search_kernel<kSlots, kPatch>, bytes, 4);
  search_kernel<kSlots, kPatch><<<blocks_for(a.count, warps), warps * kWarp, warps * bytes, stream>>>(a, warp_floats);
}

// The patches of the presets; those under 8 are matched in step 2 alone, by short lists.
template <int kSlots>
void launch_patch(const SearchArgs<float>& a, cudaStream_t stream) {
  if constexpr (kSlots == 1) {
    switch (a.patch) {
      case 4:
        return launch_search<1, 4>(a, stream);
      case 5:
        return launch_search<1, 5>(a, stream);
      case 6:
        return launch_search<1, 6>(a, stream);
      case 7:
        return launch_search<1, 7>(a, stream);
    }
  }
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

void launch(const SearchArgs<float>& a, cudaStream_t stream) {
  switch ((a.neighbors + kWarp - 1) / kWarp) {
    case 1:
      return launch_patch<1>(a, stream);
    case 2:
      return launch_patch<2>(a, stream);
    default:
      return launch_patch<4>(a, stream);
  }
}

void search_out(std::vector<Tensor> guide, const Tensor& queries, const Tensor& centres, int64_t frame, int64_t patch,
                int64_t side, int64_t side_other, Tensor distances, Tensor offsets) {
  const auto a =
      search_args<float>(guide, queries, centres, frame, patch, side, side_other, distances, offsets, "search");
  if (a.count == 0) return;
  launch_on(guide[0], [&](cudaStream_t stream) { launch(a, stream); });
}

void search_along_flow_out(std::vector<Tensor> guide, std::vector<Tensor> fields, const Tensor& queries, int64_t frame,
                           int64_t scale, int64_t patch, int64_t side, int64_t side_other, Tensor centres,
                           Tensor distances, Tensor offsets) {
  const auto a = search_args<float>(guide, queries, centres, frame, patch, side, side_other, distances, offsets,
                                    "search_along_flow");
  const FlowChain<float> chain = flow_chain(fields, a, scale, centres);
  if (a.count == 0) return;
  launch_on(guide[0], [&](cudaStream_t stream) {
    chain_flow(chain, stream);
    launch(a, stream);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("search_out", TORCH_BOX(&search_out));
  m.impl("search_along_flow_out", TORCH_BOX(&search_along_flow_out));
}
