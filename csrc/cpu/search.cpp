// Shifted non-local search with the top-k fused in: candidates of one query at a time, never a candidate volume.
#include <algorithm>
#include <limits>

#include "cpu/chain_flow.h"
#include "cpu/isa.h"
#include "search_args.h"
#include "window.h"

#define VNLS_KERNEL "cpu/search_kernel.h"
#include "cpu/isa_variants.h"

namespace {

using namespace vnls;

template <typename T>
void run(const SearchArgs<T>& a) {
  torch::stable::parallel_for(0, a.count, 64,
                              [&](int64_t begin, int64_t end) { VNLS_DISPATCH_ISA(search_queries(a, begin, end)); });
}

void search_out(std::vector<Tensor> guide, const Tensor& queries, const Tensor& centres, int64_t frame, int64_t patch,
                int64_t side, int64_t side_other, Tensor distances, Tensor offsets) {
  dispatch_floating(guide[0], "search", [&](auto zero) {
    using T = decltype(zero);
    run(search_args<T>(guide, queries, centres, frame, patch, side, side_other, distances, offsets, "search"));
  });
}

void search_along_flow_out(std::vector<Tensor> guide, std::vector<Tensor> fields, const Tensor& queries, int64_t frame,
                           int64_t scale, int64_t patch, int64_t side, int64_t side_other, Tensor centres,
                           Tensor distances, Tensor offsets) {
  const auto a = search_args<float>(guide, queries, centres, frame, patch, side, side_other, distances, offsets,
                                    "search_along_flow");
  chain_flow(flow_chain(fields, a, scale, centres));
  run(a);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("search_out", TORCH_BOX(&search_out));
  m.impl("search_along_flow_out", TORCH_BOX(&search_along_flow_out));
}
