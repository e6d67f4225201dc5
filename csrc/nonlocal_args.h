// How the tensors and settings of the non-local search become its arguments, for both backends.
#pragma once

#include "nonlocal.h"
#include "stable.h"

namespace vnls {

inline NonlocalSettings nonlocal_settings(const std::vector<int64_t>& v) {
  STD_TORCH_CHECK(v.size() == 20, "nonlocal_search: expected 20 settings");
  auto at = [&](int i) { return static_cast<int>(v[i]); };
  return {at(0),  at(1),  at(2),  at(3),  at(4),  at(5),        at(6) != 0, at(7) != 0, at(8) != 0, at(9) != 0,
          at(10), at(11), at(12), at(13), at(14), Self(at(15)), at(16),     at(17),     at(18),     at(19) != 0};
}

template <typename T>
NonlocalArgs<T> nonlocal_args(const Tensor& queries, const Tensor& keys, const Tensor& centres,
                              const std::vector<int64_t>& settings, double stride1) {
  for (const Tensor* tensor : {&queries, &keys, &centres}) check_contiguous(*tensor, "nonlocal_search");
  NonlocalArgs<T> a{};
  a.s = nonlocal_settings(settings);
  a.stride1 = static_cast<T>(stride1);
  a.queries = queries.const_data_ptr<T>();
  a.keys = keys.const_data_ptr<T>();
  a.centres = centres.const_data_ptr<T>();
  const int y = a.s.channels_last ? 2 : 3, channel = a.s.channels_last ? 4 : 2;
  a.frames = static_cast<int>(queries.size(1));
  a.features = static_cast<int>(queries.size(channel)) / a.s.heads;
  a.q_height = static_cast<int>(queries.size(y)), a.q_width = static_cast<int>(queries.size(y + 1));
  a.k_height = static_cast<int>(keys.size(y)), a.k_width = static_cast<int>(keys.size(y + 1));
  a.centre_heads = static_cast<int>(centres.size(1));
  a.rows = static_cast<int>(centres.size(3)), a.columns = static_cast<int>(centres.size(4));
  a.windows = static_cast<int>(centres.size(5));
  a.count = queries.size(0) * a.s.heads * a.frames * a.rows * a.columns;
  a.neighbors = a.s.keep ? a.s.lists * a.s.keep : a.windows * a.side2();
  return a;
}

}  // namespace vnls
