// Flow chained over a temporal window, one query at a time; its gradient scatters integers, so threads may race.
#include "chain.h"
#include "chain_args.h"
#include "stable.h"

namespace {

using namespace vnls;

void search_flow_out(const Tensor& forward, const Tensor& backward, int64_t reach, int64_t stride, Tensor flows) {
  dispatch_floating(forward, "search_flow", [&](auto zero) {
    const auto a = chain_args<decltype(zero)>(forward, backward, flows, reach, stride);
    torch::stable::parallel_for(0, chain_queries(a), 1024, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) trace_query(a, n);
    });
  });
}

void search_flow_hops_out(const Tensor& forward, const Tensor& backward, const Tensor& flows, const Tensor& gradient,
                          int64_t reach, int64_t stride, Tensor hops) {
  check_contiguous(gradient, "search_flow");
  dispatch_floating(forward, "search_flow", [&](auto zero) {
    using T = decltype(zero);
    const auto a = chain_args<T>(forward, backward, flows, reach, stride);
    const T* from = gradient.const_data_ptr<T>();
    T* to = hops.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, chain_queries(a), 1024, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) hop_gradients(a, from, to, n);
    });
  });
}

void search_flow_scatter_(const Tensor& forward, const Tensor& backward, const Tensor& flows, const Tensor& hops,
                          const Tensor& scale, int64_t reach, int64_t stride, Tensor forward_sums,
                          Tensor backward_sums) {
  check_contiguous(hops, "search_flow");
  dispatch_floating(forward, "search_flow", [&](auto zero) {
    using T = decltype(zero);
    const auto a = chain_args<T>(forward, backward, flows, reach, stride);
    const T* from = hops.const_data_ptr<T>();
    const T factor = *scale.const_data_ptr<T>();
    int64_t* sums[2] = {backward_sums.mutable_data_ptr<int64_t>(), forward_sums.mutable_data_ptr<int64_t>()};
    torch::stable::parallel_for(0, chain_queries(a), 1024, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        scatter_hops(a, from, factor, n, [&](bool ahead, int64_t at, long long value) {
          __atomic_fetch_add(sums[ahead] + at, value, __ATOMIC_RELAXED);
        });
      }
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("search_flow_out", TORCH_BOX(&search_flow_out));
  m.impl("search_flow_hops_out", TORCH_BOX(&search_flow_hops_out));
  m.impl("search_flow_scatter_", TORCH_BOX(&search_flow_scatter_));
}
