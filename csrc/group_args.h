// The arguments of the group filters, from the tensors of their schemas.
#pragma once

#include "group.h"
#include "stable.h"

namespace vnls {

inline GroupArgs group_args(const std::vector<Tensor>& noisy, const std::vector<Tensor>& basic, const Tensor& queries,
                            const Tensor& offsets, int64_t frame, int64_t patch, double sigma,
                            const std::vector<Tensor>& sums, const char* name) {
  check_contiguous(queries, name);
  check_contiguous(offsets, name);
  GroupArgs a{};
  a.noisy = const_frames<float>(noisy, name);
  if (!basic.empty()) a.basic = const_frames<float>(basic, name);
  a.sums.count = static_cast<int>(sums.size());
  for (int i = 0; i < a.sums.count; ++i) {
    check_contiguous(sums[i], name);
    a.sums.data[i] = reinterpret_cast<long long*>(sums[i].mutable_data_ptr<int64_t>());
  }
  a.channels = static_cast<int>(noisy[0].size(0));
  a.height = static_cast<int>(noisy[0].size(1));
  a.width = static_cast<int>(noisy[0].size(2));
  a.queries = queries.const_data_ptr<int>();
  a.offsets = offsets.const_data_ptr<int>();
  a.count = queries.size(0);
  a.own = static_cast<int>(frame);
  a.patch = static_cast<int>(patch);
  a.neighbors = static_cast<int>(offsets.size(1));
  a.scale = static_cast<float>(1 / sigma);
  return a;
}

}  // namespace vnls
