// The trilinear form of neighbour patches: gather, spread and dots, channels innermost.
#include "patch_form.h"

#include <algorithm>

#include "patch_args.h"

namespace {

using namespace vnls;

constexpr int64_t kGrain = 64;

// Finds every neighbour in v once; see Located.
void patch_locate_out(const Tensor& offsets, const std::vector<int64_t>& fields, Tensor codes, Tensor fractions) {
  const PatchForm form = patch_form(fields);
  check_offsets(form, codes, offsets);
  dispatch_offsets(offsets, [&](auto zero, auto whole) {
    using T = decltype(zero);
    using Offset = decltype(whole);
    constexpr bool kBilinear = !std::is_same_v<Offset, int>;
    const Offset* off = offsets.const_data_ptr<Offset>();
    int* to = codes.mutable_data_ptr<int>();
    T* rest = kBilinear ? fractions.mutable_data_ptr<T>() : nullptr;
    const int64_t per_list = form.entries_per_list();
    torch::stable::parallel_for(0, codes.numel(), 1 << 12, [&](int64_t begin, int64_t end) {
      for (int64_t entry = begin; entry < end; ++entry) {
        const Query q = query_of(form, static_cast<uint32_t>(entry % per_list));
        Anchor<T> anchor{};
        to[entry] = locate(form, off + 3 * entry, q.t, q.y, q.x, anchor) ? code_of<kBilinear>(form, anchor) : kMissing;
        if constexpr (kBilinear) {
          rest[2 * entry] = anchor.fy;
          rest[2 * entry + 1] = anchor.fx;
        }
      }
    });
  });
}

void patch_gather_out(const Tensor& v, const Tensor& weights, const Tensor& codes, const Tensor& fractions,
                      const std::vector<int64_t>& fields, Tensor out) {
  const PatchForm form = patch_form(fields);
  check_source(form, v);
  check_target(form, out);
  check_lists(form, weights, codes, fractions);
  dispatch_located(v, fractions, [&](auto zero, auto bilinear) {
    using T = decltype(zero);
    const T *from = v.const_data_ptr<T>(), *w = weights.const_data_ptr<T>();
    const Located<T> located{codes.const_data_ptr<int>(), fractions.const_data_ptr<T>()};
    T* to = out.mutable_data_ptr<T>();
    const int channels = form.channels;
    torch::stable::parallel_for(0, form.lists * form.out_pixels(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        const int x = static_cast<int>(pixel % form.out_width);
        const int64_t row = pixel / form.out_width, image = row / form.out_height;
        const int64_t list = image / form.out_frames;
        const T* plane = from + list / form.share * form.plane_pixels() * channels;
        T* sums = to + pixel * channels;
        std::fill_n(sums, channels, T(0));
        visit_sources<decltype(bilinear)::value>(form, w, located, list, static_cast<int>(image % form.out_frames),
                                                 static_cast<int>(row % form.out_height), x, [&](int at, T weight) {
                                                   const T* values = pixel_at(plane, at, channels);
                                                   for (int c = 0; c < channels; ++c) sums[c] += weight * values[c];
                                                 });
      }
    });
  });
}

// Counts the entries that each pixel of v holds.
void patch_count_out(const Tensor& codes, const std::vector<int64_t>& fields, Tensor counts) {
  const PatchForm form = patch_form(fields);
  const int64_t entries = form.share * form.entries_per_list(), cells = form.plane_pixels();
  const int* from = codes.const_data_ptr<int>();
  int* to = counts.mutable_data_ptr<int>();
  torch::stable::parallel_for(0, form.lists / form.share, 1, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin * entries; e < end * entries; ++e)
      if (from[e] >= 0) ++to[e / entries * cells + (from[e] >> 1)];
  });
}

// Sorts the entries by the pixel that holds them, those of one pixel in rising order. `counts` is used up.
void patch_fill_out(const Tensor& codes, const Tensor& starts, const std::vector<int64_t>& fields, Tensor counts,
                    Tensor entries) {
  const PatchForm form = patch_form(fields);
  const int64_t per_plane = form.share * form.entries_per_list(), cells = form.plane_pixels();
  const int* from = codes.const_data_ptr<int>();
  const int64_t* start = starts.const_data_ptr<int64_t>();
  int *left = counts.mutable_data_ptr<int>(), *to = entries.mutable_data_ptr<int>();
  torch::stable::parallel_for(0, form.lists / form.share, 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane)
      for (int64_t e = 0; e < per_plane; ++e) {
        const int code = from[plane * per_plane + e];
        if (code < 0) continue;
        const int64_t cell = plane * cells + (code >> 1);
        to[start[cell + 1] - left[cell]--] = static_cast<int>(e);
      }
  });
}

// What Bins holds of every entry; they lie in order here already.
void patch_order_out(const Tensor& entries, const Tensor& weights, const Tensor& codes, const Tensor& starts,
                     const std::vector<int64_t>& fields, Tensor ordered, Tensor targets, Tensor ordered_weights) {
  const PatchForm form = patch_form(fields);
  const int64_t per_plane = form.share * form.entries_per_list(), cells = form.plane_pixels();
  dispatch_floating(weights, "patch form", [&](auto zero) {
    using T = decltype(zero);
    const int* from = entries.const_data_ptr<int>();
    const int64_t* start = starts.const_data_ptr<int64_t>();
    const T* w = weights.const_data_ptr<T>();
    int *entry = ordered.mutable_data_ptr<int>(), *target = targets.mutable_data_ptr<int>();
    T* weight = ordered_weights.mutable_data_ptr<T>();
    for (int64_t plane = 0; plane < form.lists / form.share; ++plane)
      torch::stable::parallel_for(start[plane * cells], start[(plane + 1) * cells], 1 << 12,
                                  [&](int64_t begin, int64_t end) {
                                    for (int64_t slot = begin; slot < end; ++slot) {
                                      entry[slot] = from[slot];
                                      target[slot] = target_of(form, query_of(form, static_cast<uint32_t>(from[slot])));
                                      weight[slot] = w[plane * per_plane + from[slot]];
                                    }
                                  });
  });
}

void patch_spread_out(const Tensor& g, const Tensor& weights, const Tensor& fractions, const Tensor& starts,
                      const Tensor& entries, const Tensor& targets, const std::vector<int64_t>& fields, Tensor out) {
  const PatchForm form = patch_form(fields);
  check_target(form, g);
  check_source(form, out);
  check_lists(form, weights, entries, fractions);
  dispatch_located(g, fractions, [&](auto zero, auto bilinear) {
    using T = decltype(zero);
    const T* from = g.const_data_ptr<T>();
    const Located<T> located{nullptr, fractions.const_data_ptr<T>()};
    const Bins<T> bins{starts.const_data_ptr<int64_t>(), entries.const_data_ptr<int>(), targets.const_data_ptr<int>(),
                       weights.const_data_ptr<T>()};
    T* to = out.mutable_data_ptr<T>();
    const int channels = form.channels;
    const int64_t pixels = form.lists / form.share * form.plane_pixels();
    torch::stable::parallel_for(0, pixels, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        const int64_t row = pixel / form.width, image = row / form.height, plane = image / form.frames;
        const T* values = from + plane * form.share * form.out_pixels() * channels;
        T* sums = to + pixel * channels;
        std::fill_n(sums, channels, T(0));
        visit_targets<decltype(bilinear)::value>(form, located, bins, plane, static_cast<int>(image % form.frames),
                                                 static_cast<int>(row % form.height),
                                                 static_cast<int>(pixel % form.width), [&](int at, T weight) {
                                                   const T* value = pixel_at(values, at, channels);
                                                   for (int c = 0; c < channels; ++c) sums[c] += weight * value[c];
                                                 });
      }
    });
  });
}

// Sums of products in four lanes, so that the compiler may vectorise them; the order is fixed.
template <typename T>
T dot(const T* a, const T* b, int n) {
  T lanes[4] = {};
  int i = 0;
  for (; i + 4 <= n; i += 4)
    for (int l = 0; l < 4; ++l) lanes[l] += a[i + l] * b[i + l];
  for (; i < n; ++i) lanes[0] += a[i] * b[i];
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

void patch_dots_out(const Tensor& v, const Tensor& g, const Tensor& weights, const Tensor& offsets,
                    const std::vector<int64_t>& fields, Tensor of_weights, Tensor of_offsets) {
  const PatchForm form = patch_form(fields);
  check_source(form, v);
  check_target(form, g);
  check_offsets(form, weights, offsets);
  dispatch_patches(v, offsets, [&](auto zero, auto whole) {
    using T = decltype(zero);
    using Offset = decltype(whole);
    constexpr bool kBilinear = !std::is_same_v<Offset, int>;
    const T *from = v.const_data_ptr<T>(), *target = g.const_data_ptr<T>(), *w = weights.const_data_ptr<T>();
    const Offset* off = offsets.const_data_ptr<Offset>();
    T *to = of_weights.mutable_data_ptr<T>(), *moves = kBilinear ? of_offsets.mutable_data_ptr<T>() : nullptr;
    const int channels = form.channels;
    const int64_t per_list = form.entries_per_list();
    torch::stable::parallel_for(0, form.lists * per_list, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t entry = begin; entry < end; ++entry) {
        const int64_t list = entry / per_list;
        const Query q = query_of(form, static_cast<uint32_t>(entry - list * per_list));
        const T* plane = from + list / form.share * form.plane_pixels() * channels;
        const T* image = target + list * form.out_pixels() * channels;
        Anchor<T> anchor{};
        T value = 0, down = 0, right = 0;
        if (locate(form, off + 3 * entry, q.t, q.y, q.x, anchor))
          visit_pairs<kBilinear>(form, anchor, q, [&](const Pairing& pair) {
            const auto at = [&](int pixel) { return pixel_at(plane, pixel, channels); };
            const T* gs = pixel_at(image, pair.target, channels);
            const T above_left = dot(gs, at(pair.above_left), channels);
            if constexpr (kBilinear) {
              const T above_right = dot(gs, at(pair.above_right), channels);
              const T below_left = dot(gs, at(pair.below_left), channels);
              const T below_right = dot(gs, at(pair.below_right), channels);
              const T above = above_left + anchor.fx * (above_right - above_left);
              const T below = below_left + anchor.fx * (below_right - below_left);
              value += above + anchor.fy * (below - above);
              down += below - above;
              right +=
                  (above_right - above_left) + anchor.fy * ((below_right - below_left) - (above_right - above_left));
            } else {
              value += above_left;
            }
          });
        to[entry] = value;
        if constexpr (kBilinear) {
          moves[3 * entry] = 0;
          moves[3 * entry + 1] = w[entry] * anchor.sign_y * down;
          moves[3 * entry + 2] = w[entry] * anchor.sign_x * right;
        }
      }
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("patch_locate_out", TORCH_BOX(&patch_locate_out));
  m.impl("patch_gather_out", TORCH_BOX(&patch_gather_out));
  m.impl("patch_count_out", TORCH_BOX(&patch_count_out));
  m.impl("patch_fill_out", TORCH_BOX(&patch_fill_out));
  m.impl("patch_order_out", TORCH_BOX(&patch_order_out));
  m.impl("patch_spread_out", TORCH_BOX(&patch_spread_out));
  m.impl("patch_dots_out", TORCH_BOX(&patch_dots_out));
}
