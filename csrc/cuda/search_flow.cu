// Flow chained over a temporal window: one thread a query; its gradient adds integers, whose order cannot matter.
#include "chain.h"
#include "chain_args.h"
#include "cuda/launch.h"

namespace {

using namespace vnls;

constexpr int kThreads = 128;

__device__ int64_t thread_index() { return blockIdx.x * int64_t(blockDim.x) + threadIdx.x; }

template <typename T>
__global__ void __launch_bounds__(kThreads) trace_kernel(ChainArgs<T> a, int64_t total) {
  const int64_t n = thread_index();
  if (n < total) trace_query(a, n);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    hops_kernel(ChainArgs<T> a, int64_t total, const T* __restrict__ gradient, T* __restrict__ hops) {
  const int64_t n = thread_index();
  if (n < total) hop_gradients(a, gradient, hops, n);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    scatter_kernel(ChainArgs<T> a, int64_t total, const T* __restrict__ hops, const T* __restrict__ scale,
                   unsigned long long* forward_sums, unsigned long long* backward_sums) {
  const int64_t n = thread_index();
  if (n >= total) return;
  scatter_hops(a, hops, *scale, n, [&](bool ahead, int64_t at, long long value) {
    atomicAdd((ahead ? forward_sums : backward_sums) + at, static_cast<unsigned long long>(value));
  });
}

void search_flow_out(const Tensor& forward, const Tensor& backward, int64_t reach, int64_t stride, Tensor flows) {
  dispatch_floating(forward, "search_flow", [&](auto zero) {
    using T = decltype(zero);
    const auto a = chain_args<T>(forward, backward, flows, reach, stride);
    const int64_t total = chain_queries(a);
    if (total == 0) return;
    launch_on(forward, [&](cudaStream_t stream) {
      trace_kernel<T><<<blocks_for(total, kThreads), kThreads, 0, stream>>>(a, total);
    });
  });
}

void search_flow_hops_out(const Tensor& forward, const Tensor& backward, const Tensor& flows, const Tensor& gradient,
                          int64_t reach, int64_t stride, Tensor hops) {
  check_contiguous(gradient, "search_flow");
  dispatch_floating(forward, "search_flow", [&](auto zero) {
    using T = decltype(zero);
    const auto a = chain_args<T>(forward, backward, flows, reach, stride);
    const int64_t total = chain_queries(a);
    if (total == 0) return;
    launch_on(forward, [&](cudaStream_t stream) {
      hops_kernel<T><<<blocks_for(total, kThreads), kThreads, 0, stream>>>(a, total, gradient.const_data_ptr<T>(),
                                                                           hops.mutable_data_ptr<T>());
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
    const int64_t total = chain_queries(a);
    if (total == 0) return;
    launch_on(forward, [&](cudaStream_t stream) {
      scatter_kernel<T><<<blocks_for(total, kThreads), kThreads, 0, stream>>>(
          a, total, hops.const_data_ptr<T>(), scale.const_data_ptr<T>(),
          reinterpret_cast<unsigned long long*>(forward_sums.mutable_data_ptr<int64_t>()),
          reinterpret_cast<unsigned long long*>(backward_sums.mutable_data_ptr<int64_t>()));
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) {
  m.impl("search_flow_out", TORCH_BOX(&search_flow_out));
  m.impl("search_flow_hops_out", TORCH_BOX(&search_flow_hops_out));
  m.impl("search_flow_scatter_", TORCH_BOX(&search_flow_scatter_));
}
