// Shifted non-local search with the top-k fused in: one warp a query, its lanes over candidates, the list of nearest
// patches in registers, sorted across the lanes.
#include <math_constants.h>

#include <algorithm>

#include "cuda/chain_flow.h"
#include "cuda/launch.h"
#include "cuda/nearest.cuh"
#include "search_args.h"
#include "window.h"

namespace {

using namespace vnls;

constexpr float kFirst = -1;  // sorts the query itself before every distance

constexpr int kMostFrames = 8;  // looked through at once; more would take much shared memory

// Row stride of the staged query: every row can be read four samples at a time.
__host__ __device__ constexpr int query_stride(int patch) { return (patch + 3) / 4 * 4; }

// Quotients of small numbers, by a product; a division takes some 25 instructions.
struct Divider {
  unsigned reciprocal;  // 0 of 1

  explicit Divider(int by) : reciprocal(0xffffffffu / by + 1) {}
  // number * by < 2^32
  __device__ int operator()(int number) const {
    return reciprocal == 0 ? number : static_cast<int>(__umulhi(number, reciprocal));
  }
};

// How a warp looks through windows of one side: lanes take pairs of candidates, one above the other, which share all
// but one row of what they read. Where windows are small, those of several frames are looked through together.
struct WindowPlan {
  int side;
  int width, height;  // of a window: the side, or less where the frame has fewer positions
  int columns, rows;  // that its candidates reach over
  int pairs;          // of rows of candidates
  int frames;         // looked through at once
  int step;           // pairs of candidates at once: whole rows, if one fits
  int stride, slot;   // floats from row to row and from window to window
  Divider by_columns, by_width, by_pairs;

  WindowPlan(int side, int patch, int frame_height, int frame_width, bool alone)
      : side(side),
        width(std::min(side, frame_width - patch + 1)),
        height(std::min(side, frame_height - patch + 1)),
        columns(width + patch - 1),
        rows(height + patch - 1),
        pairs((height + 1) / 2),
        frames(alone ? 1 : std::clamp(kWarp / (width * pairs), 1, kMostFrames)),
        step(width > kWarp ? kWarp : kWarp / width * width),
        by_columns(columns),
        by_width(width),
        by_pairs(pairs) {
    // Two rows further down lies what the lanes after those of all windows' rows read, in other banks.
    const int banks = frames * width;
    stride = columns + (((banks + 1) / 2 - columns) % 16 + 16) % 16;
    slot = (rows + 1) * stride;  // the last pair may lack its lower candidate
    slot += ((width - slot) % kWarp + kWarp) % kWarp;
  }

  int floats() const { return frames * slot; }
};

template <int kSlots, int kPatch>
__global__ void __launch_bounds__(128)
    search_kernel(const __grid_constant__ SearchArgs<float> a, const __grid_constant__ WindowPlan own_plan,
                  const __grid_constant__ WindowPlan other_plan, int warp_floats) {
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
  for (int f = 0; f < a.guide.count;) {
    const bool is_own = f == a.own;
    const WindowPlan& plan = is_own ? own_plan : other_plan;
    const int last = is_own ? f : (f < a.own ? a.own : a.guide.count) - 1;
    const int frames = last - f + 1 < plan.frames ? last - f + 1 : plan.frames;
    int self = -1;
    __syncwarp();
    for (int slot = 0; slot < frames; ++slot) {
      const int* centre = a.centres + (n * a.guide.count + f + slot) * 2;
      const Window window = place_window({centre[0], centre[1]}, plan.side, p, a.height, a.width);
      const float* from = a.guide.data[f + slot] + int64_t(window.y) * a.width + window.x;
      float* to = tile + slot * plan.slot;
      for (int i = lane; i < plan.rows * plan.columns; i += kWarp) {
        const int y = plan.by_columns(i);
        to[i + y * (plan.stride - plan.columns)] = from[i + y * (a.width - plan.columns)];
      }
      if (is_own) self = ordinal_in(window, at);
    }
    __syncwarp();
    const int count = plan.height * plan.width, total = frames * plan.pairs * plan.width;
    for (int start = 0; start < total; start += plan.step) {
      const int i = start + lane;
      auto upper_rank = Rank<float>::none(), lower_rank = upper_rank;
      if (lane < plan.step && i < total) {
        const int row = plan.by_width(i), slot = plan.by_pairs(row), y = 2 * (row - slot * plan.pairs);
        const int x = i - row * plan.width;
        const float* candidate = tile + slot * plan.slot + y * plan.stride + x;
        float upper = 0, lower = 0;
#pragma unroll
        for (int dy = 0; dy <= p; ++dy) {
#pragma unroll
          for (int dx = 0; dx < p; dx += 4) {
            // The same for all lanes: as few loads as there can be.
            const float4 here = *reinterpret_cast<const float4*>(query + (dy < p ? dy : 0) * query_row + dx);
            const float4 above = *reinterpret_cast<const float4*>(query + (dy > 0 ? dy - 1 : 0) * query_row + dx);
            const float of_upper[4] = {here.x, here.y, here.z, here.w};
            const float of_lower[4] = {above.x, above.y, above.z, above.w};
#pragma unroll
            for (int w = 0; w < 4; ++w) {
              if (dx + w >= p) break;
              const float sample = candidate[dy * plan.stride + dx + w];
              if (dy < p) {
                const float difference = sample - of_upper[w];
                upper = fmaf(difference, difference, upper);
              }
              if (dy > 0) {
                const float difference = sample - of_lower[w];
                lower = fmaf(difference, difference, lower);
              }
            }
          }
        }
        if (!(upper == upper)) upper = CUDART_INF_F;  // NaN goes last
        if (!(lower == lower)) lower = CUDART_INF_F;
        const int ordinal = y * plan.width + x, before = first + slot * count;
        upper_rank = Rank<float>::of(ordinal == self ? kFirst : upper, before + ordinal);
        if (y + 1 < plan.height) {
          lower_rank = Rank<float>::of(ordinal + plan.width == self ? kFirst : lower, before + ordinal + plan.width);
        }
      }
      nearest.insert(upper_rank, lane, a.neighbors - 1);
      nearest.insert(lower_rank, lane, a.neighbors - 1);
    }
    first += frames * count;
    f += frames;
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
  const WindowPlan own(a.side, a.patch, a.height, a.width, true);
  const WindowPlan other(a.side_other, a.patch, a.height, a.width, false);
  const int most = std::max(own.floats(), other.floats());
  const int warp_floats = (most + a.patch * query_stride(a.patch) + 3) / 4 * 4;
  const int bytes = warp_floats * static_cast<int>(sizeof(float));
  const int warps = warps_that_fit(search_kernel<kSlots, kPatch>, bytes, 4);
  search_kernel<kSlots, kPatch>
      <<<blocks_for(a.count, warps), warps * kWarp, warps * bytes, stream>>>(a, own, other, warp_floats);
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
