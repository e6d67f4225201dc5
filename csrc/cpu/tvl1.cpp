// TV-L1 optical flow: each thread solves whole pairs, or all threads share the rows of one.
//
// Within a pair nothing is copied per iteration: u and p are updated in place, row by row. The primal update of row y
// reads p of rows y-1 and y, the dual update of row y reads u of rows y and y+1; so iteration k+1 may follow two rows
// behind iteration k, and several iterations pass over the image together while their rows are in the cache.
#include "tvl1.h"

#include <algorithm>

#include "cpu/multiversion.h"
#include "stable.h"

namespace {

using namespace vnls;

constexpr int64_t kCacheBytes = 256 * 1024;  // of the rows in flight: half of a typical second-level cache
constexpr int64_t kRowsAThread = 16;
constexpr int kPlanes = 12;  // of the size of an image that a pair needs beside its pyramid: flow twice, dual, linear

template <typename T>
struct Image {
  const T* data;
  int height, width;
};

// Planes of one level: u, v | p of u (x, y), p of v (x, y) | constant, gx, gy, inverse.
template <typename T>
struct Planes {
  T* flow;
  T* dual;
  T* linear;
};

template <typename T>
VNLS_MULTIVERSION void halve_row(const Image<T> fine, T* coarse, int y, int coarse_width) {
  const T* rows[4];
  for (int j = 0; j < 4; ++j) rows[j] = fine.data + int64_t(clamped(2 * y + j - 1, 0, fine.height - 1)) * fine.width;
  for (int x = 0; x < coarse_width; ++x) {
    T column[4];
    for (int i = 0; i < 4; ++i) {
      const int from = clamped(2 * x + i - 1, 0, fine.width - 1);
      column[i] = binomial(rows[0][from], rows[1][from], rows[2][from], rows[3][from]);
    }
    coarse[x] = binomial(column[0], column[1], column[2], column[3]);
  }
}

template <typename T>
void double_row(const T* coarse, T* fine, int y, int coarse_height, int coarse_width, int width) {
  const Between<T> row(y, coarse_height);
  for (int x = 0; x < width; ++x) fine[x] = finer_flow(coarse, coarse_width, row, Between<T>(x, coarse_width));
}

template <typename T>
T median_at(const T* above, const T* here, const T* below, int left, int x, int right) {
  return median_of_nine(above[left], above[x], above[right], here[left], here[x], here[right], below[left], below[x],
                        below[right]);
}

template <typename T>
VNLS_MULTIVERSION void median_row(const T* above, const T* here, const T* below, T* out, int width) {
#pragma GCC ivdep
  for (int x = 1; x < width - 1; ++x) {
    out[x] = median_of_nine(above[x - 1], above[x], above[x + 1], here[x - 1], here[x], here[x + 1], below[x - 1],
                            below[x], below[x + 1]);
  }
  out[0] = median_at(above, here, below, 0, 0, std::min(1, width - 1));
  out[width - 1] = median_at(above, here, below, std::max(0, width - 2), width - 1, width - 1);
}

template <typename T>
VNLS_MULTIVERSION void linearise_row(const Image<T> target, const T* source, const T* flow, T* linear, int y) {
  const int width = target.width;
  const int64_t plane = int64_t(target.height) * width, row = int64_t(y) * width;
  const T *u = flow + row, *v = u + plane, *from = source + row;
  T *constant = linear + row, *gx = constant + plane, *gy = gx + plane, *inverse = gy + plane;
#pragma GCC ivdep
  for (int x = 0; x < width; ++x) {
    const Linear<T> term = linearised(target.data, target.height, width, x, y, from[x], u[x], v[x]);
    constant[x] = term.constant;
    gx[x] = term.gx;
    gy[x] = term.gy;
    inverse[x] = term.inverse;
  }
}

template <typename T>
VNLS_MULTIVERSION void primal_row(const Planes<T> planes, int y, int height, int width, T threshold, T tightness) {
  const int64_t plane = int64_t(height) * width, row = int64_t(y) * width;
  // The y component of p is zero in the last row for ever: there it serves the first row as the row above it.
  const int64_t above = int64_t(y > 0 ? y - 1 : height - 1) * width;
  T *u = planes.flow + row, *v = u + plane;
  const T *ux = planes.dual + row, *uy = ux + plane, *vx = uy + plane, *vy = vx + plane;
  const T *uy_above = planes.dual + plane + above, *vy_above = uy_above + 2 * plane;
  const T *constant = planes.linear + row, *gx = constant + plane, *gy = gx + plane, *inverse = gy + plane;
  const auto update = [&](int x, T ux_left, T vx_left) __attribute__((always_inline)) {
    const T along = shrinkage(constant[x], gx[x], gy[x], inverse[x], u[x], v[x], threshold);
    u[x] += along * gx[x] + tightness * ((ux[x] - ux_left) + (uy[x] - uy_above[x]));
    v[x] += along * gy[x] + tightness * ((vx[x] - vx_left) + (vy[x] - vy_above[x]));
  };
  update(0, T(0), T(0));
#pragma GCC ivdep
  for (int x = 1; x < width; ++x) update(x, ux[x - 1], vx[x - 1]);
}

template <typename T>
VNLS_MULTIVERSION void dual_row(const Planes<T> planes, int y, int height, int width, T step) {
  const int64_t plane = int64_t(height) * width, row = int64_t(y) * width;
  const int64_t below = y + 1 < height ? width : 0;  // the last row has itself below: no gradient across the border
  const T *u = planes.flow + row, *v = u + plane, *u_below = u + below, *v_below = v + below;
  T *ux = planes.dual + row, *uy = ux + plane, *vx = uy + plane, *vy = vx + plane;
  const auto update = [&](int x, T u_right, T v_right) __attribute__((always_inline)) {
    const T u_x = u_right - u[x], u_y = u_below[x] - u[x];
    const T v_x = v_right - v[x], v_y = v_below[x] - v[x];
    const T u_scale = dual_scale(u_x, u_y, step), v_scale = dual_scale(v_x, v_y, step);
    ux[x] = (ux[x] + step * u_x) * u_scale;
    uy[x] = (uy[x] + step * u_y) * u_scale;
    vx[x] = (vx[x] + step * v_x) * v_scale;
    vy[x] = (vy[x] + step * v_y) * v_scale;
  };
#pragma GCC ivdep
  for (int x = 0; x < width - 1; ++x) update(x, u[x + 1], v[x + 1]);
  update(width - 1, u[width - 1], v[width - 1]);
}

template <typename Body>
void for_rows(int height, Body&& body) {
  torch::stable::parallel_for(0, height, kRowsAThread, [&](int64_t begin, int64_t end) {
    for (int y = static_cast<int>(begin); y < end; ++y) body(y);
  });
}

template <typename T>
void iterate_in_one_thread(const Planes<T>& planes, int height, int width, const FlowSettings<T>& settings) {
  const int64_t rows_in_cache = kCacheBytes / (10 * int64_t(sizeof(T)) * width);
  const int depth = std::max(1, static_cast<int>(rows_in_cache / 2));
  for (int first = 0; first < settings.iterations; first += depth) {
    const int together = std::min(depth, settings.iterations - first);
    for (int front = 0; front <= height + 2 * (together - 1); ++front) {
      for (int k = 0; k < together; ++k) {
        const int y = front - 2 * k;
        if (y >= 0 && y < height) primal_row(planes, y, height, width, settings.threshold, settings.tightness);
        if (y >= 1 && y <= height) dual_row(planes, y - 1, height, width, settings.step);
      }
    }
  }
}

template <typename T>
void iterate_in_all_threads(const Planes<T>& planes, int height, int width, const FlowSettings<T>& settings) {
  for (int k = 0; k < settings.iterations; ++k) {
    for_rows(height, [&](int y) { primal_row(planes, y, height, width, settings.threshold, settings.tightness); });
    for_rows(height, [&](int y) { dual_row(planes, y, height, width, settings.step); });
  }
}

template <typename T>
void median(const T* flow, T* out, int height, int width) {
  for_rows(height, [&](int y) {
    for (int channel = 0; channel < 2; ++channel) {
      const T* here = flow + (int64_t(channel) * height + y) * width;
      median_row(y > 0 ? here - width : here, here, y + 1 < height ? here + width : here, out + (here - flow), width);
    }
  });
}

// Levels of an image, finest first; all but the image itself are made in `memory`, which is advanced beyond them.
template <typename T>
void build_pyramid(Image<T> image, int levels, T*& memory, Image<T>* pyramid) {
  pyramid[0] = image;
  for (int level = 1; level < levels; ++level) {
    const Image<T> fine = pyramid[level - 1];
    T* coarse = memory;
    const int height = coarser(fine.height), width = coarser(fine.width);
    for_rows(height, [&](int y) { halve_row(fine, coarse + int64_t(y) * width, y, width); });
    pyramid[level] = {coarse, height, width};
    memory += int64_t(height) * width;
  }
}

template <typename T>
void solve(Image<T> source, Image<T> target, T* memory, T* out, const FlowSettings<T>& settings, bool alone) {
  Image<T> sources[kMaxFlowLevels], targets[kMaxFlowLevels];
  build_pyramid(source, settings.levels, memory, sources);
  build_pyramid(target, settings.levels, memory, targets);
  const int64_t plane = int64_t(source.height) * source.width;
  T* flow = memory;  // of the level at hand; `other` takes what is made from it, then they change places
  T* other = memory + 2 * plane;
  T* const dual = memory + 4 * plane;
  T* const linear = memory + 8 * plane;
  for (int level = settings.levels - 1; level >= 0; --level) {
    const int height = sources[level].height, width = sources[level].width;
    const int64_t size = int64_t(height) * width;
    if (level == settings.levels - 1) {
      std::fill(flow, flow + 2 * size, T(0));
    } else {
      const Image<T> coarse = sources[level + 1];
      for_rows(height, [&](int y) {
        for (int channel = 0; channel < 2; ++channel) {
          double_row(flow + int64_t(channel) * coarse.height * coarse.width,
                     other + channel * size + int64_t(y) * width, y, coarse.height, coarse.width, width);
        }
      });
      std::swap(flow, other);
    }
    std::fill(dual, dual + 4 * size, T(0));
    const int warps = level > 0 ? settings.coarse_warps : settings.warps;
    for (int warp = 0; warp < warps; ++warp) {
      for_rows(height, [&](int y) { linearise_row(targets[level], sources[level].data, flow, linear, y); });
      const Planes<T> planes{flow, dual, linear};
      if (alone) {
        iterate_in_all_threads(planes, height, width, settings);
      } else {
        iterate_in_one_thread(planes, height, width, settings);
      }
      const bool last = level == 0 && warp == warps - 1;
      median(flow, last ? out : other, height, width);
      std::swap(flow, other);
    }
  }
}

// workspace: [slots, elements], one slot a thread that solves pairs of its own.
void tvl1_flow_out(const Tensor& source, const Tensor& target, double attachment, double tightness, double step,
                   int64_t levels, int64_t warps, int64_t coarse_warps, int64_t iterations, Tensor workspace,
                   Tensor flow) {
  const char* name = "tvl1_flow";
  for (const Tensor* tensor :
       {&source, &target, static_cast<const Tensor*>(&workspace), static_cast<const Tensor*>(&flow)}) {
    check_contiguous(*tensor, name);
  }
  STD_TORCH_CHECK(levels >= 1 && levels <= kMaxFlowLevels, name, ": expected 1 to ", kMaxFlowLevels, " levels");
  if (flow.numel() == 0) return;
  const int64_t pairs = source.size(0), slots = workspace.size(0), elements = workspace.size(1);
  const int height = static_cast<int>(source.size(1)), width = static_cast<int>(source.size(2));
  const int64_t plane = source.size(1) * source.size(2);
  STD_TORCH_CHECK(elements >= flow_elements(height, width, static_cast<int>(levels), kPlanes), name,
                  ": workspace is too small");
  dispatch_floating(source, name, [&](auto zero) {
    using T = decltype(zero);
    const auto settings = flow_settings<T>(attachment, tightness, step, levels, warps, coarse_warps, iterations);
    const T *from = source.const_data_ptr<T>(), *to = target.const_data_ptr<T>();
    T *memory = workspace.mutable_data_ptr<T>(), *out = flow.mutable_data_ptr<T>();
    const auto solve_pair = [&](int64_t pair, int64_t slot, bool alone) {
      solve<T>({from + pair * plane, height, width}, {to + pair * plane, height, width}, memory + slot * elements,
               out + 2 * pair * plane, settings, alone);
    };
    if (slots == 1) {
      const bool alone = torch::stable::get_num_threads() > 1;
      for (int64_t pair = 0; pair < pairs; ++pair) solve_pair(pair, 0, alone);
    } else {
      torch::stable::parallel_for(0, slots, 1, [&](int64_t begin, int64_t end) {
        for (int64_t slot = begin; slot < end; ++slot) {
          for (int64_t pair = slot; pair < pairs; pair += slots) solve_pair(pair, slot, false);
        }
      });
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) { m.impl("tvl1_flow_out", TORCH_BOX(&tvl1_flow_out)); }
