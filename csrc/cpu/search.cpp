// Shifted non-local search with the top-k fused in: candidates of one query at a time, never a candidate volume.
#include "search.h"

#include <algorithm>
#include <limits>

#include "cpu/isa.h"
#include "stable.h"
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
  for (const Tensor* tensor :
       {&queries, &centres, &static_cast<const Tensor&>(distances), &static_cast<const Tensor&>(offsets)})
    check_contiguous(*tensor, "search");
  dispatch_floating(guide[0], "search", [&](auto zero) {
    using T = decltype(zero);
    run<T>({const_frames<T>(guide, "search"), static_cast<int>(guide[0].size(0)), static_cast<int>(guide[0].size(1)),
            queries.const_data_ptr<int>(), centres.const_data_ptr<int>(), queries.size(0), static_cast<int>(frame),
            static_cast<int>(patch), static_cast<int>(side), static_cast<int>(side_other),
            static_cast<int>(offsets.size(1)), distances.mutable_data_ptr<T>(), offsets.mutable_data_ptr<int>()});
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) { m.impl("search_out", TORCH_BOX(&search_out)); }
