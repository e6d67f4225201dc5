// Non-local search in windows around given centres, and its gradient. One query at a time: no candidate volume.
#include "nonlocal.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <type_traits>

#include "cpu/isa.h"
#include "fixed.h"
#include "nonlocal_args.h"
#include "stable.h"

#define VNLS_KERNEL "cpu/nonlocal_kernel.h"
#include "cpu/isa_variants.h"

namespace {

using namespace vnls;

void nonlocal_search_out(const Tensor& queries, const Tensor& keys, const Tensor& centres,
                         std::vector<int64_t> settings, double stride1, Tensor distances, Tensor offsets,
                         Tensor ordinals) {
  dispatch_floating(queries, "nonlocal_search", [&](auto zero) {
    using T = decltype(zero);
    const auto a = nonlocal_args<T>(queries, keys, centres, settings, stride1);
    T *to = distances.mutable_data_ptr<T>(), *where = offsets.mutable_data_ptr<T>();
    int* which = ordinals.mutable_data_ptr<int>();
    torch::stable::parallel_for(0, a.count, 16, [&](int64_t begin, int64_t end) {
      VNLS_DISPATCH_ISA(nonlocal_queries(a, to, where, which, begin, end));
    });
  });
}

template <typename T>
struct GradientArgs {
  const int* ordinals;
  const T* gradient;          // of the distances
  const T* gradient_offsets;  // null: none
  T scale;
  int64_t *query_sums, *key_sums;
  T* centre_gradient;  // per head; null: not wanted
};

void add_fixed(int64_t* sum, long long value) { __atomic_fetch_add(sum, value, __ATOMIC_RELAXED); }

// Adds what one neighbour of a query owes to the query's patch and to its own, channels last; returns what it owes to
// its position.
template <typename T>
void add_neighbor(const NonlocalArgs<T>& a, const GradientArgs<T>& g, const NonlocalQuery& query, const Placed<T>& p,
                  int within, T weight, T& slope_y, T& slope_x) {
  const int channels = a.channels(), first = query.head * a.features;
  const T y = candidate_y(a, p, within / a.s.ws), x = candidate_x(a, p, within % a.s.ws);
  for (int pk = 0; pk < a.s.pt; ++pk) {
    const int64_t q_frame =
        (query.b * a.frames + mirror_index(query.t + pk, a.frames)) * int64_t(a.q_height) * a.q_width;
    const int64_t k_frame =
        (query.b * a.frames + mirror_index(p.frame + pk, a.frames)) * int64_t(a.k_height) * a.k_width;
    for (int row = 0; row < a.s.ps; ++row) {
      const auto v = along(y + a.s.dilation * (row + a.s.first_tap), a.k_height, a.s.bilinear);
      for (int column = 0; column < a.s.ps; ++column) {
        const auto h = along(x + a.s.dilation * (column + a.s.first_tap), a.k_width, a.s.bilinear);
        int64_t pixel;
        if (!query_tap(a, query, row, column, pixel) || !(a.s.reflect || (v.seen && h.seen))) continue;
        const int64_t at = (q_frame + pixel) * channels + first;
        const int64_t corner[4] = {(k_frame + int64_t(v.low) * a.k_width + h.low) * channels + first,
                                   (k_frame + int64_t(v.low) * a.k_width + h.high) * channels + first,
                                   (k_frame + int64_t(v.high) * a.k_width + h.low) * channels + first,
                                   (k_frame + int64_t(v.high) * a.k_width + h.high) * channels + first};
        for (int c = 0; c < a.features; ++c) {
          const T k00 = a.keys[corner[0] + c], k01 = a.keys[corner[1] + c];
          const T k10 = a.keys[corner[2] + c], k11 = a.keys[corner[3] + c];
          const T top = blend(k00, k01, h.fraction), bottom = blend(k10, k11, h.fraction);
          const T u = a.queries[at + c], value = blend(top, bottom, v.fraction);
          const T to_query = a.s.prod ? weight * value : 2 * weight * (u - value);
          const T to_key = a.s.prod ? weight * u : -to_query;
          add_fixed(g.query_sums + at + c, to_fixed(to_query, g.scale));
          if (!a.s.bilinear) {
            add_fixed(g.key_sums + corner[0] + c, to_fixed(to_key, g.scale));
            continue;
          }
          slope_y += to_key * (bottom - top);
          slope_x += to_key * blend(k01 - k00, k11 - k10, v.fraction);
          const T low = (1 - v.fraction) * to_key, high = v.fraction * to_key;
          add_fixed(g.key_sums + corner[0] + c, to_fixed((1 - h.fraction) * low, g.scale));
          add_fixed(g.key_sums + corner[1] + c, to_fixed(h.fraction * low, g.scale));
          add_fixed(g.key_sums + corner[2] + c, to_fixed((1 - h.fraction) * high, g.scale));
          add_fixed(g.key_sums + corner[3] + c, to_fixed(h.fraction * high, g.scale));
        }
      }
    }
  }
}

template <typename T>
void query_gradients(const NonlocalArgs<T>& a, const GradientArgs<T>& g, int64_t n) {
  const NonlocalQuery query(a, n);
  T* owed = g.centre_gradient ? g.centre_gradient + n * a.windows * 3 : nullptr;
  if (owed) std::fill_n(owed, a.windows * 3, T(0));
  const int length = a.neighbors / a.s.lists;
  for (int k = 0; k < a.neighbors; ++k) {
    const int64_t at = n * a.neighbors + k;
    const int ordinal = g.ordinals[at];
    if (ordinal < 0 || k % length >= a.s.differentiable) continue;
    const int window = ordinal / a.side2();
    const Placed<T> p = place(a, query, window);
    T slope_y = 0, slope_x = 0;
    add_neighbor(a, g, query, p, ordinal % a.side2(), g.gradient[at], slope_y, slope_x);
    if (!owed) continue;
    if (g.gradient_offsets) slope_y += g.gradient_offsets[3 * at + 1], slope_x += g.gradient_offsets[3 * at + 2];
    owed[3 * window + 1] += p.slope_y * slope_y;
    owed[3 * window + 2] += p.slope_x * slope_x;
  }
}

void nonlocal_search_gradients_(const Tensor& queries, const Tensor& keys, const Tensor& centres,
                                const Tensor& ordinals, const Tensor& gradient, std::optional<Tensor> gradient_offsets,
                                const Tensor& scale, std::vector<int64_t> settings, double stride1, Tensor query_sums,
                                Tensor key_sums, std::optional<Tensor> centre_gradient) {
  dispatch_floating(queries, "nonlocal_search", [&](auto zero) {
    using T = decltype(zero);
    const auto a = nonlocal_args<T>(queries, keys, centres, settings, stride1);
    STD_TORCH_CHECK(a.s.channels_last, "nonlocal_search: gradients expect channels last");
    const GradientArgs<T> g{ordinals.const_data_ptr<int>(),
                            gradient.const_data_ptr<T>(),
                            gradient_offsets ? gradient_offsets->const_data_ptr<T>() : nullptr,
                            *scale.const_data_ptr<T>(),
                            query_sums.mutable_data_ptr<int64_t>(),
                            key_sums.mutable_data_ptr<int64_t>(),
                            centre_gradient ? centre_gradient->mutable_data_ptr<T>() : nullptr};
    torch::stable::parallel_for(0, a.count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) query_gradients(a, g, n);
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("nonlocal_search_out", TORCH_BOX(&nonlocal_search_out));
  m.impl("nonlocal_search_gradients_", TORCH_BOX(&nonlocal_search_gradients_));
}
