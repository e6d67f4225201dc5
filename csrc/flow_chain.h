// Arguments of the chained flow that places windows, as both backends take them.
#pragma once

#include <cstdint>

#include "search.h"
#include "stable.h"

namespace vnls {

// forward, backward: one field [2, flow_height, flow_width] a frame; the last forward and first backward one is not
// read.
template <typename T>
struct FlowChain {
  Frames<const T> forward, backward;
  int flow_height, flow_width, scale;
  const int* queries;  // [count, 2] (y, x)
  int64_t count;
  int own;            // the queries' frame
  int height, width;  // positions are kept inside
  int* centres;       // [count, frames, 2] (y, x)
};

// fields: [2, 2, h, w] between neighbours, forward and backward; none where there is one frame.
inline FlowChain<float> flow_chain(const std::vector<Tensor>& fields, const SearchArgs<float>& search, int64_t scale,
                                   const Tensor& centres) {
  const char* name = "search_along_flow";
  const int count = search.guide.count;
  STD_TORCH_CHECK(static_cast<int>(fields.size()) == count - 1, name, ": expected a field between two frames");
  check_contiguous(centres, name);
  FlowChain<float> chain{};
  chain.forward.count = chain.backward.count = count;
  for (int i = 0; i + 1 < count; ++i) {
    check_contiguous(fields[i], name);
    const float* field = fields[i].const_data_ptr<float>();
    chain.flow_height = static_cast<int>(fields[i].size(2));
    chain.flow_width = static_cast<int>(fields[i].size(3));
    chain.forward.data[i] = field;
    chain.backward.data[i + 1] = field + int64_t(2) * chain.flow_height * chain.flow_width;
  }
  chain.scale = static_cast<int>(scale);
  chain.queries = search.queries;
  chain.count = search.count;
  chain.own = search.own;
  chain.height = search.height;
  chain.width = search.width;
  chain.centres = const_cast<int*>(search.centres);
  return chain;
}

}  // namespace vnls
