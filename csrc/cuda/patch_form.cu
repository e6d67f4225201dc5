// The trilinear form of neighbour patches: gather, spread and dots, channels innermost.
//
// gather and spread: one thread a pixel and group of channels, threads of a pixel side by side, so that each neighbour
// is read as whole sectors; a block takes a square tile, whose neighbours meet in L1. No atomics on data: spread reads
// entries sorted by target. dots: a few threads an entry, joined by shuffles in a fixed order; whole offsets and small
// patches have a kernel of their own: patch_dots.cuh.
#include "cuda/launch.h"
#include "cuda/patch_dots.cuh"
#include "patch_args.h"
#include "patch_form.h"

namespace {

using namespace vnls;

constexpr int kTile = 8;  // pixels along each side of a block's tile
constexpr int kPixels = kTile * kTile;
constexpr int kSmallBin = 64;

// A tile of images [images, height, width]; calls body(image, y, x, group) for each pixel and group of channels.
template <typename Body>
__device__ void over_tile(int height, int width, int groups, Body&& body) {
  const unsigned across = (width + kTile - 1) / kTile, down = (height + kTile - 1) / kTile;
  const unsigned row = blockIdx.x / across;
  const int left = static_cast<int>(blockIdx.x % across) * kTile, top = static_cast<int>(row % down) * kTile;
  const int64_t image = row / down;
  for (int i = threadIdx.x; i < kPixels * groups; i += blockDim.x) {
    const int pixel = i / groups, y = top + pixel / kTile, x = left + pixel % kTile;
    if (y < height && x < width) body(image, y, x, i - pixel * groups);
  }
}

template <typename T, bool kBilinear, int kWidth>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const PatchForm form, const T* __restrict__ v, const T* __restrict__ weights,
                  const Located<T> located, T* __restrict__ out) {
  over_tile(form.out_height, form.out_width, form.channels / kWidth, [&](int64_t image, int y, int x, int group) {
    const int64_t list = image / form.out_frames;
    const T* plane = v + list / form.share * form.plane_pixels() * form.channels + group * kWidth;
    Pack<T, kWidth> sums{};
    visit_sources<kBilinear>(form, weights, located, list, static_cast<int>(image - list * form.out_frames), y, x,
                             [&](int at, T weight) {
                               const auto values = load<T, kWidth>(pixel_at(plane, at, form.channels));
#pragma unroll
                               for (int c = 0; c < kWidth; ++c) sums.at[c] += weight * values.at[c];
                             });
    const int64_t pixel = (image * form.out_height + y) * form.out_width + x;
    *reinterpret_cast<Pack<T, kWidth>*>(out + pixel * form.channels + group * kWidth) = sums;
  });
}

template <typename T, bool kBilinear, int kWidth>
__global__ void __launch_bounds__(kThreads)
    spread_kernel(const PatchForm form, const T* __restrict__ g, const Located<T> located, const Bins<T> bins,
                  T* __restrict__ out) {
  over_tile(form.height, form.width, form.channels / kWidth, [&](int64_t image, int y, int x, int group) {
    const int64_t plane = image / form.frames;
    const T* from = g + plane * form.share * form.out_pixels() * form.channels + group * kWidth;
    Pack<T, kWidth> sums{};
    visit_targets<kBilinear>(form, located, bins, plane, static_cast<int>(image - plane * form.frames), y, x,
                             [&](int at, T weight) {
                               const auto values = load<T, kWidth>(pixel_at(from, at, form.channels));
#pragma unroll
                               for (int c = 0; c < kWidth; ++c) sums.at[c] += weight * values.at[c];
                             });
    const int64_t pixel = (image * form.height + y) * form.width + x;
    *reinterpret_cast<Pack<T, kWidth>*>(out + pixel * form.channels + group * kWidth) = sums;
  });
}

// Calls body(plane, entry): entries are counted within the lists that share a plane.
template <typename Body>
__device__ void over_entries(const PatchForm& form, Body&& body) {
  const int64_t entry = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (entry < form.share * form.entries_per_list()) body(int64_t(blockIdx.y), entry);
}

template <typename T, typename Offset>
__global__ void __launch_bounds__(kThreads) locate_kernel(const PatchForm form, const Offset* __restrict__ offsets,
                                                          int* __restrict__ codes, T* __restrict__ fractions) {
  constexpr bool kBilinear = !std::is_same_v<Offset, int>;
  over_entries(form, [&](int64_t plane, int64_t entry) {
    const Query q = query_of(form, static_cast<uint32_t>(entry));
    const int64_t at = plane * form.share * form.entries_per_list() + entry;
    Anchor<T> anchor{};
    codes[at] = locate(form, offsets + 3 * at, q.t, q.y, q.x, anchor) ? code_of<kBilinear>(form, anchor) : kMissing;
    if constexpr (kBilinear) {
      fractions[2 * at] = anchor.fy;
      fractions[2 * at + 1] = anchor.fx;
    }
  });
}

__global__ void __launch_bounds__(kThreads)
    count_kernel(const PatchForm form, const int* __restrict__ codes, int* __restrict__ counts) {
  over_entries(form, [&](int64_t plane, int64_t entry) {
    const int code = codes[plane * form.share * form.entries_per_list() + entry];
    if (code >= 0) atomicAdd(counts + plane * form.plane_pixels() + (code >> 1), 1);
  });
}

// Which slot of its bin an entry gets is a race; order_kernel ends it.
__global__ void __launch_bounds__(kThreads)
    fill_kernel(const PatchForm form, const int* __restrict__ codes, const int64_t* __restrict__ starts,
                int* __restrict__ counts, int* __restrict__ entries) {
  over_entries(form, [&](int64_t plane, int64_t entry) {
    const int code = codes[plane * form.share * form.entries_per_list() + entry];
    if (code < 0) return;
    const int64_t cell = plane * form.plane_pixels() + (code >> 1);
    entries[starts[cell] + atomicSub(counts + cell, 1) - 1] = static_cast<int>(entry);
  });
}

__device__ void sift(int* values, int root, int n) {
  const int value = values[root];
  for (int child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && values[child + 1] > values[child]) ++child;
    if (values[child] <= value) break;
    values[root] = values[child];
  }
  values[root] = value;
}

// No recursion, n log n whatever the order.
__device__ void heap_sort(int* values, int n) {
  for (int root = n / 2 - 1; root >= 0; --root) sift(values, root, n);
  for (int last = n - 1; last > 0; --last) {
    const int top = values[0];
    values[0] = values[last];
    values[last] = top;
    sift(values, 0, last);
  }
}

// Puts the rare bins that many neighbours share in order.
__global__ void __launch_bounds__(kThreads)
    sort_kernel(const int64_t* __restrict__ starts, int64_t cells, int* __restrict__ entries) {
  const int64_t cell = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (cell >= cells) return;
  const int n = static_cast<int>(starts[cell + 1] - starts[cell]);
  if (n > kSmallBin) heap_sort(entries + starts[cell], n);
}

// Fills what Bins holds of every entry: a thread a slot, which finds its entry's place among those of its bin.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    order_kernel(const PatchForm form, const int* __restrict__ entries, const T* __restrict__ weights,
                 const int* __restrict__ codes, const int64_t* __restrict__ starts, int* __restrict__ ordered,
                 int* __restrict__ targets, T* __restrict__ ordered_weights) {
  const int64_t plane = blockIdx.y, cells = form.plane_pixels(), first = plane * cells;
  const int64_t slot = starts[first] + blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (slot >= starts[first + cells]) return;
  const int entry = entries[slot];
  const int64_t at = plane * form.share * form.entries_per_list() + entry;
  const int64_t cell = first + (codes[at] >> 1), begin = starts[cell];
  const int n = static_cast<int>(starts[cell + 1] - begin);
  int64_t to = slot;
  if (n <= kSmallBin) {
    to = begin;
    for (int i = 0; i < n; ++i) to += entries[begin + i] < entry;
  }
  ordered[to] = entry;
  targets[to] = target_of(form, query_of(form, static_cast<uint32_t>(entry)));
  ordered_weights[to] = weights[at];
}

// Lanes of one entry, a power of two, share the channels; blockIdx.y is the list.
template <typename T, typename Offset, int kWidth>
__global__ void __launch_bounds__(kThreads)
    dots_kernel(const PatchForm form, int lanes, int64_t first_list, const T* __restrict__ v, const T* __restrict__ g,
                const T* __restrict__ weights, const Offset* __restrict__ offsets, T* __restrict__ of_weights,
                T* __restrict__ of_offsets) {
  constexpr bool kBilinear = !std::is_same_v<Offset, int>;
  const int64_t per_list = form.entries_per_list(), list = first_list + blockIdx.y;
  const int lane = threadIdx.x & (lanes - 1);
  const int64_t index = blockIdx.x * int64_t(kThreads / lanes) + threadIdx.x / lanes;
  const int64_t entry = list * per_list + index;
  Anchor<T> anchor{};
  T value = 0, down = 0, right = 0;
  if (index < per_list) {
    const Query q = query_of(form, static_cast<uint32_t>(index));
    const T* plane = v + list / form.share * form.plane_pixels() * form.channels;
    const T* image = g + list * form.out_pixels() * form.channels;
    const bool exists = locate(form, offsets + 3 * entry, q.t, q.y, q.x, anchor);
    for (int c = lane * kWidth; exists && c < form.channels; c += lanes * kWidth)
      visit_pairs<kBilinear>(form, anchor, q, [&](const Pairing& pair) {
        auto at = [&](int pixel) { return load<T, kWidth>(pixel_at(plane + c, pixel, form.channels)); };
        const auto target = load<T, kWidth>(pixel_at(image + c, pair.target, form.channels));
        const auto above_left = at(pair.above_left);
        if constexpr (kBilinear) {
          const auto above_right = at(pair.above_right);
          const auto below_left = at(pair.below_left), below_right = at(pair.below_right);
#pragma unroll
          for (int k = 0; k < kWidth; ++k) {
            const T across_above = above_right.at[k] - above_left.at[k];
            const T across_below = below_right.at[k] - below_left.at[k];
            const T above = above_left.at[k] + anchor.fx * across_above;
            const T below = below_left.at[k] + anchor.fx * across_below;
            value += target.at[k] * (above + anchor.fy * (below - above));
            down += target.at[k] * (below - above);
            right += target.at[k] * (across_above + anchor.fy * (across_below - across_above));
          }
        } else {
#pragma unroll
          for (int k = 0; k < kWidth; ++k) value += target.at[k] * above_left.at[k];
        }
      });
  }
  for (int step = lanes / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(~0u, value, step);
    if constexpr (kBilinear) {
      down += __shfl_xor_sync(~0u, down, step);
      right += __shfl_xor_sync(~0u, right, step);
    }
  }
  if (lane != 0 || index >= per_list) return;
  of_weights[entry] = value;
  if constexpr (kBilinear) {
    of_offsets[3 * entry] = 0;
    of_offsets[3 * entry + 1] = weights[entry] * anchor.sign_y * down;
    of_offsets[3 * entry + 2] = weights[entry] * anchor.sign_x * right;
  }
}

bool aligned(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// Calls body(integral constant): how many channels a thread takes in one load of at most 16 bytes.
template <typename T, typename Body>
void dispatch_width(int channels, std::initializer_list<const void*> pointers, Body&& body) {
  constexpr int kMost = 16 / sizeof(T);
  bool whole = channels % kMost == 0;
  for (const void* pointer : pointers) whole = whole && aligned(pointer, 16);
  if (whole)
    body(std::integral_constant<int, kMost>{});
  else
    body(std::integral_constant<int, 1>{});
}

int threads_for(int groups) { return groups >= kThreads / kPixels ? kThreads : kPixels * groups; }

// Calls body(integral constant): the side of patches for which there are kernels that know it, else 0.
template <typename Body>
void dispatch_patch(const PatchForm& form, Body&& body) {
  if (form.dilation_in != 1 || form.dilation_out != 1) return body(std::integral_constant<int, 0>{});
  switch (form.patch) {
    case 1:
      return body(std::integral_constant<int, 1>{});
    case 3:
      return body(std::integral_constant<int, 3>{});
    default:
      return body(std::integral_constant<int, 0>{});
  }
}

unsigned tiles_of(int64_t images, int height, int width) {
  const int64_t tiles = images * ((height + kTile - 1) / kTile) * ((width + kTile - 1) / kTile);
  STD_TORCH_CHECK(tiles < INT32_MAX, "patch form: too many pixels for one launch");
  return static_cast<unsigned>(tiles);
}

dim3 entry_blocks(const PatchForm& form) {
  const int64_t planes = form.lists / form.share;
  STD_TORCH_CHECK(planes <= 65535, "patch form: more than 65535 planes in one call");
  return dim3(blocks_for(form.share * form.entries_per_list(), kThreads), static_cast<unsigned>(planes));
}

void patch_locate_out(const Tensor& offsets, const std::vector<int64_t>& fields, Tensor codes, Tensor fractions) {
  const PatchForm form = patch_form(fields);
  check_offsets(form, codes, offsets);
  if (offsets.numel() == 0) return;
  dispatch_offsets(offsets, [&](auto zero, auto whole) {
    using T = decltype(zero);
    using Offset = decltype(whole);
    T* rest = std::is_same_v<Offset, int> ? nullptr : fractions.mutable_data_ptr<T>();
    launch_on(offsets, [&](cudaStream_t stream) {
      locate_kernel<T, Offset><<<entry_blocks(form), kThreads, 0, stream>>>(form, offsets.const_data_ptr<Offset>(),
                                                                            codes.mutable_data_ptr<int>(), rest);
    });
  });
}

void patch_gather_out(const Tensor& v, const Tensor& weights, const Tensor& codes, const Tensor& fractions,
                      const std::vector<int64_t>& fields, Tensor out) {
  const PatchForm form = patch_form(fields);
  check_source(form, v);
  check_target(form, out);
  check_lists(form, weights, codes, fractions);
  if (out.numel() == 0) return;
  const unsigned blocks = tiles_of(form.lists * form.out_frames, form.out_height, form.out_width);
  dispatch_located(v, fractions, [&](auto zero, auto bilinear) {
    using T = decltype(zero);
    constexpr bool kBilinear = decltype(bilinear)::value;
    const T* from = v.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    const Located<T> located{codes.const_data_ptr<int>(), fractions.const_data_ptr<T>()};
    dispatch_width<T>(form.channels, {from, to}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      launch_on(v, [&](cudaStream_t stream) {
        gather_kernel<T, kBilinear, kWidth><<<blocks, threads_for(form.channels / kWidth), 0, stream>>>(
            form, from, weights.const_data_ptr<T>(), located, to);
      });
    });
  });
}

void patch_count_out(const Tensor& codes, const std::vector<int64_t>& fields, Tensor counts) {
  const PatchForm form = patch_form(fields);
  if (codes.numel() == 0) return;
  launch_on(codes, [&](cudaStream_t stream) {
    count_kernel<<<entry_blocks(form), kThreads, 0, stream>>>(form, codes.const_data_ptr<int>(),
                                                              counts.mutable_data_ptr<int>());
  });
}

void patch_fill_out(const Tensor& codes, const Tensor& starts, const std::vector<int64_t>& fields, Tensor counts,
                    Tensor entries) {
  const PatchForm form = patch_form(fields);
  if (codes.numel() == 0) return;
  const int64_t* start = starts.const_data_ptr<int64_t>();
  int* to = entries.mutable_data_ptr<int>();
  launch_on(codes, [&](cudaStream_t stream) {
    fill_kernel<<<entry_blocks(form), kThreads, 0, stream>>>(form, codes.const_data_ptr<int>(), start,
                                                             counts.mutable_data_ptr<int>(), to);
    sort_kernel<<<blocks_for(counts.numel(), kThreads), kThreads, 0, stream>>>(start, counts.numel(), to);
  });
}

void patch_order_out(const Tensor& entries, const Tensor& weights, const Tensor& codes, const Tensor& starts,
                     const std::vector<int64_t>& fields, Tensor ordered, Tensor targets, Tensor ordered_weights) {
  const PatchForm form = patch_form(fields);
  if (entries.numel() == 0) return;
  dispatch_floating(weights, "patch form", [&](auto zero) {
    using T = decltype(zero);
    launch_on(entries, [&](cudaStream_t stream) {
      order_kernel<T><<<entry_blocks(form), kThreads, 0, stream>>>(
          form, entries.const_data_ptr<int>(), weights.const_data_ptr<T>(), codes.const_data_ptr<int>(),
          starts.const_data_ptr<int64_t>(), ordered.mutable_data_ptr<int>(), targets.mutable_data_ptr<int>(),
          ordered_weights.mutable_data_ptr<T>());
    });
  });
}

void patch_spread_out(const Tensor& g, const Tensor& weights, const Tensor& fractions, const Tensor& starts,
                      const Tensor& entries, const Tensor& targets, const std::vector<int64_t>& fields, Tensor out) {
  const PatchForm form = patch_form(fields);
  check_target(form, g);
  check_source(form, out);
  check_lists(form, weights, entries, fractions);
  if (out.numel() == 0) return;
  const unsigned blocks = tiles_of(form.lists / form.share * form.frames, form.height, form.width);
  dispatch_located(g, fractions, [&](auto zero, auto bilinear) {
    using T = decltype(zero);
    constexpr bool kBilinear = decltype(bilinear)::value;
    const T* from = g.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    const Located<T> located{nullptr, fractions.const_data_ptr<T>()};
    const Bins<T> bins{starts.const_data_ptr<int64_t>(), entries.const_data_ptr<int>(), targets.const_data_ptr<int>(),
                       weights.const_data_ptr<T>()};
    dispatch_width<T>(form.channels, {from, to}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      launch_on(g, [&](cudaStream_t stream) {
        spread_kernel<T, kBilinear, kWidth>
            <<<blocks, threads_for(form.channels / kWidth), 0, stream>>>(form, from, located, bins, to);
      });
    });
  });
}

void patch_dots_out(const Tensor& v, const Tensor& g, const Tensor& weights, const Tensor& offsets,
                    const std::vector<int64_t>& fields, Tensor of_weights, Tensor of_offsets) {
  const PatchForm form = patch_form(fields);
  check_source(form, v);
  check_target(form, g);
  check_offsets(form, weights, offsets);
  if (weights.numel() == 0) return;
  dispatch_patches(v, offsets, [&](auto zero, auto whole) {
    using T = decltype(zero);
    using Offset = decltype(whole);
    const T *from = v.const_data_ptr<T>(), *target = g.const_data_ptr<T>();
    T* moves = std::is_same_v<Offset, int> ? nullptr : of_offsets.mutable_data_ptr<T>();
    dispatch_width<T>(form.channels, {from, target}, [&](auto width) {
      dispatch_patch(form, [&](auto patch) {
        constexpr int kWidth = decltype(width)::value, kPatch = decltype(patch)::value;
        const int groups = form.channels / kWidth;
        launch_on(v, [&](cudaStream_t stream) {
          for (int64_t first = 0; first < form.lists; first += 65535) {
            const unsigned here = static_cast<unsigned>(form.lists - first < 65535 ? form.lists - first : 65535);
            const Offset* off = offsets.const_data_ptr<Offset>();
            T* to = of_weights.mutable_data_ptr<T>();
            int lanes = 1;
            if constexpr (kPatch > 0 && std::is_same_v<Offset, int>) {
              if (form.depth == 1 && groups <= 32) {
                while (lanes < groups) lanes *= 2;
                const dim3 blocks(blocks_for(form.entries_per_list() / form.count, kThreads / lanes), here);
                dots_of_queries_kernel<T, kWidth, kPatch>
                    <<<blocks, kThreads, 0, stream>>>(form, lanes, first, from, target, off, to);
                continue;
              }
            }
            while (lanes < 32 && 2 * lanes <= groups) lanes *= 2;
            const dim3 blocks(blocks_for(form.entries_per_list(), kThreads / lanes), here);
            dots_kernel<T, Offset, kWidth><<<blocks, kThreads, 0, stream>>>(
                form, lanes, first, from, target, weights.const_data_ptr<T>(), off, to, moves);
          }
        });
      });
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("patch_locate_out", TORCH_BOX(&patch_locate_out));
  m.impl("patch_gather_out", TORCH_BOX(&patch_gather_out));
  m.impl("patch_count_out", TORCH_BOX(&patch_count_out));
  m.impl("patch_fill_out", TORCH_BOX(&patch_fill_out));
  m.impl("patch_order_out", TORCH_BOX(&patch_order_out));
  m.impl("patch_spread_out", TORCH_BOX(&patch_spread_out));
  m.impl("patch_dots_out", TORCH_BOX(&patch_dots_out));
}
