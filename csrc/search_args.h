// How the tensors of the shifted search become its arguments, for both backends.
#pragma once

#include "search.h"
#include "stable.h"

namespace vnls {

template <typename T>
SearchArgs<T> search_args(const std::vector<Tensor>& guide, const Tensor& queries, const Tensor& centres, int64_t frame,
                          int64_t patch, int64_t side, int64_t side_other, const Tensor& distances,
                          const Tensor& offsets, const char* name) {
  for (const Tensor* tensor : {&queries, &centres, &distances, &offsets}) check_contiguous(*tensor, name);
  return {const_frames<T>(guide, name),
          static_cast<int>(guide[0].size(0)),
          static_cast<int>(guide[0].size(1)),
          queries.const_data_ptr<int>(),
          centres.const_data_ptr<int>(),
          queries.size(0),
          static_cast<int>(frame),
          static_cast<int>(patch),
          static_cast<int>(side),
          static_cast<int>(side_other),
          static_cast<int>(offsets.size(1)),
          distances.mutable_data_ptr<T>(),
          offsets.mutable_data_ptr<int>()};
}

}  // namespace vnls
