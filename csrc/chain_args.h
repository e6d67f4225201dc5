// How the tensors of the chained flow become its arguments, for both backends.
#pragma once

#include "chain.h"
#include "stable.h"

namespace vnls {

template <typename T>
ChainArgs<T> chain_args(const Tensor& forward, const Tensor& backward, const Tensor& flows, int64_t reach,
                        int64_t stride) {
  check_contiguous(forward, "search_flow");
  check_contiguous(backward, "search_flow");
  check_contiguous(flows, "search_flow");
  return {
      forward.const_data_ptr<T>(),       backward.const_data_ptr<T>(),      forward.size(0),
      static_cast<int>(forward.size(1)), static_cast<int>(forward.size(3)), static_cast<int>(forward.size(4)),
      static_cast<int>(flows.size(4)),   static_cast<int>(flows.size(5)),   static_cast<int>(stride),
      static_cast<int>(flows.size(2)),   static_cast<int>(reach),           const_cast<T*>(flows.const_data_ptr<T>())};
}

template <typename T>
int64_t chain_queries(const ChainArgs<T>& a) {
  return a.slots == 0 ? 0 : a.batch * a.frames * a.rows * a.columns;
}

}  // namespace vnls
