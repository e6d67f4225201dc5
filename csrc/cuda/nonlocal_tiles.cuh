// The tiles way of the non-local search: see nonlocal.cu.
#pragma once

#include <cuda_pipeline.h>

#include "cuda/nonlocal.cuh"

namespace vnls {

// How a window is tiled: `run` candidates of a row a lane, `passes` times. run = 0: not this way.
struct TilePlan {
  int run, passes;
  int lattice;  // sampled positions a pixel: candidates lie 1 apart in the tile, taps `tap_step`
  int tap_step;
  int strips, tasks;  // runs a row and a window
  int rows, columns, stride;
  int floats;  // of shared memory a warp: tile and patch
};

// Floats between the rows of the query's patch in shared memory, which are read four at a time.
__host__ __device__ constexpr int patch_stride(int ps) { return (ps + 3) / 4 * 4; }

inline TilePlan plan_tiles(const NonlocalArgs<float>& a) {
  TilePlan plan{};
  const int lattice = a.stride1 == 1 ? 1 : (a.stride1 == .5f ? 2 : (a.stride1 == .25f ? 4 : 0));
  if (!lattice || !a.s.reflect) return plan;
  const int ws = a.s.ws, ps = a.s.ps;
  const bool unrolled = lattice == 1 && a.s.dilation == 1 && (ps == 3 || ps == 5 || ps == 7);
  if (unrolled && ws >= 6 && ws <= 28) {
    plan.run = ws <= 9 ? 3 : 7;
    plan.passes = ws <= 9 ? 1 : (ws <= 21 ? 2 : 4);
  } else if (ws * ws <= 8 * 32) {
    plan.run = 1;
    plan.passes = ws * ws <= 32 ? 1 : 8;
  } else {
    return plan;
  }
  plan.lattice = lattice;
  plan.tap_step = lattice * a.s.dilation;
  plan.strips = (ws + plan.run - 1) / plan.run;
  plan.tasks = ws * plan.strips;
  plan.rows = ws + plan.tap_step * (ps - 1);
  plan.columns = plan.strips * plan.run + plan.tap_step * (ps - 1);
  // Task t reads from bank run * t (run is odd), so that neighbouring lanes never meet in one.
  const int across = plan.run * plan.strips;
  plan.stride = across + (plan.columns - across + kWarp - 1) / kWarp * kWarp;
  plan.floats = (plan.rows * plan.stride + 3) / 4 * 4 + ps * patch_stride(ps);
  if (plan.floats > 10000) plan.run = 0;  // a warp would take more than 40 KB
  return plan;
}

// Samples one key plane at the tile's positions, in part by copies that are still under way at the end. Lanes run along
// x; bands of rows share the warp where it is wider.
__device__ inline void fill_tile(const NonlocalArgs<float>& a, const TilePlan& plan, const Placed<float>& p,
                                 const float* __restrict__ plane, float* tile, int lane) {
  const int shift = a.s.dilation * a.s.first_tap;
  const float y0 = candidate_y(a, p, 0) + shift, x0 = candidate_x(a, p, 0) + shift;
  const int bands = plan.columns < kWarp ? kWarp / plan.columns : 1;
  const int width = plan.columns < kWarp ? plan.columns : kWarp;
  const int band = (plan.rows + bands - 1) / bands, mine = lane / width;
  const int first = mine * band, last = mine < bands ? (first + band < plan.rows ? first + band : plan.rows) : 0;
  for (int start = 0; start < plan.columns; start += width) {
    const int x = start + lane % width;
    if (x >= plan.columns) continue;
    const Along<float> h = along(x0 + x * a.stride1, a.k_width, a.s.bilinear);
    if (!a.s.bilinear) {
      const int top = static_cast<int>(rintf(y0));
      if (plan.lattice == 1 && top >= 0 && top + plan.rows <= a.k_height) {
        const float* from = plane + int64_t(top + first) * a.k_width + h.low;
        float* to = tile + first * plan.stride + x;
#pragma unroll 8
        for (int y = first; y < last; ++y, from += a.k_width, to += plan.stride) {
          __pipeline_memcpy_async(to, from, sizeof(float));
        }
        continue;
      }
      for (int y = first; y < last; ++y) {
        const Along<float> v = along(y0 + y * a.stride1, a.k_height, false);
        tile[y * plan.stride + x] = __ldg(plane + int64_t(v.low) * a.k_width + h.low);
      }
      continue;
    }
    auto sample = [&](int row) {
      const float* line = plane + int64_t(row) * a.k_width;
      return blend(__ldg(line + h.low), __ldg(line + h.high), h.fraction);
    };
    if (plan.lattice == 1) {  // rows one pixel apart share their samples
      const float below = floorf(y0), fraction = y0 - below;
      const int from = static_cast<int>(below);
      float above = first < last ? sample(mirror_index(from + first, a.k_height)) : 0;
      for (int y = first; y < last; ++y) {
        const float next = sample(mirror_index(from + y + 1, a.k_height));
        tile[y * plan.stride + x] = blend(above, next, fraction);
        above = next;
      }
    } else {
      for (int y = first; y < last; ++y) {
        const Along<float> v = along(y0 + y * a.stride1, a.k_height, true);
        tile[y * plan.stride + x] = blend(sample(v.low), sample(v.high), v.fraction);
      }
    }
  }
}

template <bool kProd>
__device__ inline float add_term(float sum, float u, float v) {
  return kProd ? fmaf(u, v, sum) : fmaf(u - v, u - v, sum);
}

// Adds the plane in the tile to a lane's run of candidates. kPatch = 0: any patch, runs of one.
template <int kRun, int kPatch, bool kProd>
__device__ inline void add_tile(const TilePlan& plan, const float* from, const float* patch, int ps,
                                float (&sums)[kRun]) {
  if constexpr (kPatch == 0) {
    for (int row = 0; row < ps; ++row, from += plan.tap_step * plan.stride, patch += patch_stride(ps)) {
      for (int column = 0; column < ps; ++column) {
        sums[0] = add_term<kProd>(sums[0], patch[column], from[column * plan.tap_step]);
      }
    }
  } else {
    constexpr int kWide = patch_stride(kPatch);
#pragma unroll 1
    for (int row = 0; row < kPatch; ++row, from += plan.stride, patch += kWide) {
      float wanted[kWide];
#pragma unroll
      for (int x = 0; x < kWide; x += 4) {
        const float4 four = *reinterpret_cast<const float4*>(patch + x);
        wanted[x] = four.x, wanted[x + 1] = four.y, wanted[x + 2] = four.z, wanted[x + 3] = four.w;
      }
      float line[kRun + kPatch - 1];
#pragma unroll
      for (int x = 0; x < kRun + kPatch - 1; ++x) line[x] = from[x];
#pragma unroll
      for (int column = 0; column < kPatch; ++column) {
        const float u = wanted[column];
#pragma unroll
        for (int r = 0; r < kRun; ++r) sums[r] = add_term<kProd>(sums[r], u, line[column + r]);
      }
    }
  }
}

template <int kSlots, int kRun, int kPasses, int kPatch, bool kProd>
__global__ void __launch_bounds__(128) tiles_kernel(const __grid_constant__ NonlocalArgs<float> a,
                                                    const __grid_constant__ TilePlan plan, NonlocalLists<float> out) {
  extern __shared__ float4 tiles_shared[];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t n = blockIdx.x * int64_t(blockDim.x / kWarp) + warp;
  if (n >= a.count) return;
  // Tiles first, places behind them: both need no more than the alignment of a float.
  float* tile = reinterpret_cast<float*>(tiles_shared) + warp * plan.floats;
  const int ps = kPatch ? kPatch : a.s.ps, channels = a.channels();
  float* patch = tile + plan.floats - ps * patch_stride(ps);
  Placed<float>* places =
      reinterpret_cast<Placed<float>*>(reinterpret_cast<float*>(tiles_shared) + blockDim.x / kWarp * plan.floats) +
      warp * a.windows;
  const NonlocalQuery query(a, n);
  place_windows(a, query, places, lane);
  const int64_t q_size = int64_t(a.q_height) * a.q_width, k_size = int64_t(a.k_height) * a.k_width;
  fill_lists<kSlots>(a, query, places, out, n, lane, [&](int first, int windows, int, auto&& offer) {
    for (int s = first; s < first + windows; ++s) {
      const Placed<float> p = places[s];
      float sums[kPasses][kRun] = {};
      for (int pk = 0; pk < a.s.pt && p.side > 0; ++pk) {
        const int64_t q_frame = query.b * a.frames + mirror_index(query.t + pk, a.frames);
        const int64_t k_frame = query.b * a.frames + mirror_index(p.frame + pk, a.frames);
        const float* q_plane = a.queries + (q_frame * channels + query.head * a.features) * q_size;
        const float* k_plane = a.keys + (k_frame * channels + query.head * a.features) * k_size;
        for (int c = 0; c < a.features; ++c, q_plane += q_size, k_plane += k_size) {
          __syncwarp();
          for (int tap = lane; tap < ps * ps; tap += kWarp) {
            int64_t pixel;
            query_tap(a, query, tap / ps, tap % ps, pixel);
            patch[tap / ps * patch_stride(ps) + tap % ps] = __ldg(q_plane + pixel);
          }
          fill_tile(a, plan, p, k_plane, tile, lane);
          __pipeline_commit();
          __pipeline_wait_prior(0);
          __syncwarp();
#pragma unroll
          for (int pass = 0; pass < kPasses; ++pass) {
            const int task = pass * kWarp + lane;
            if (task < plan.tasks) {
              const float* from = tile + task / plan.strips * plan.stride + task % plan.strips * kRun;
              add_tile<kRun, kPatch, kProd>(plan, from, patch, ps, sums[pass]);
            }
          }
        }
      }
      // The tile is done with: the sums pass through it into the order of candidates.
      __syncwarp();
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int task = pass * kWarp + lane, i = task / plan.strips, j = task % plan.strips * kRun;
#pragma unroll
        for (int r = 0; r < kRun; ++r) {
          if (task < plan.tasks && j + r < a.s.ws) tile[i * a.s.ws + j + r] = sums[pass][r];
        }
      }
      __syncwarp();
      const bool whole = p.side == a.s.ws && is_candidate(a, p, 0, 0) && is_candidate(a, p, p.side - 1, p.side - 1);
      for (int start = 0; start < a.side2(); start += kWarp) {
        const int within = start + lane;
        const bool real = within < a.side2();
        const float sum = real ? tile[within] : 0, key = kProd ? -sum : sum;
        const bool valid = real && key == key && (whole || is_candidate(a, p, within / a.s.ws, within % a.s.ws));
        offer(real ? s * a.side2() + within : -1, valid ? key : INFINITY);
      }
    }
  });
}

template <int kSlots, int kRun, int kPasses, int kPatch, typename Use>
void with_distance(const NonlocalArgs<float>& a, Use&& use) {
  if (a.s.prod)
    use(tiles_kernel<kSlots, kRun, kPasses, kPatch, true>);
  else
    use(tiles_kernel<kSlots, kRun, kPasses, kPatch, false>);
}

template <int kSlots, int kRun, int kPasses, typename Use>
void with_patch(const NonlocalArgs<float>& a, Use&& use) {
  switch (a.s.ps) {
    case 3:
      return with_distance<kSlots, kRun, kPasses, 3>(a, use);
    case 5:
      return with_distance<kSlots, kRun, kPasses, 5>(a, use);
    default:
      return with_distance<kSlots, kRun, kPasses, 7>(a, use);
  }
}

// Calls use(kernel) with the kernel that a plan names.
template <int kSlots, typename Use>
void with_tile_kernel(const NonlocalArgs<float>& a, const TilePlan& plan, Use&& use) {
  if (plan.run == 3) return with_patch<kSlots, 3, 1>(a, use);
  if (plan.run == 7 && plan.passes == 2) return with_patch<kSlots, 7, 2>(a, use);
  if (plan.run == 7) return with_patch<kSlots, 7, 4>(a, use);
  if (plan.passes == 1) return with_distance<kSlots, 1, 1, 0>(a, use);
  return with_distance<kSlots, 1, 8, 0>(a, use);
}

}  // namespace vnls
