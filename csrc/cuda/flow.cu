// Chains neighbour flows into window centres for every frame of a temporal window: one thread a query and direction.
#include "cuda/chain_flow.h"
#include "cuda/launch.h"
#include "window.h"

namespace {

using namespace vnls;

template <typename T>
__global__ void chain_flow_kernel(const __grid_constant__ FlowChain<T> a) {
  const int64_t n = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (n >= a.count) return;
  const int count = a.forward.count;
  int2* out = reinterpret_cast<int2*>(a.centres) + n * count;
  Point p{a.queries[2 * n], a.queries[2 * n + 1]};
  if (blockIdx.y == 0) {
    out[a.own] = {p.y, p.x};
    for (int f = a.own; f + 1 < count; ++f) {
      p = hop(a.forward.data[f], a.flow_height, a.flow_width, a.scale, p, a.height, a.width);
      out[f + 1] = {p.y, p.x};
    }
  } else {
    for (int f = a.own; f > 0; --f) {
      p = hop(a.backward.data[f], a.flow_height, a.flow_width, a.scale, p, a.height, a.width);
      out[f - 1] = {p.y, p.x};
    }
  }
}

template <typename T>
void launch_chain_flow(const FlowChain<T>& a, cudaStream_t stream) {
  chain_flow_kernel<T><<<dim3(blocks_for(a.count, 128), 2), 128, 0, stream>>>(a);
}

void chain_flow_out(std::vector<Tensor> forward, std::vector<Tensor> backward, const Tensor& queries, int64_t frame,
                    int64_t scale, int64_t height, int64_t width, Tensor centres) {
  check_contiguous(queries, "chain_flow");
  check_contiguous(centres, "chain_flow");
  if (queries.size(0) == 0) return;
  dispatch_floating(forward[0], "chain_flow", [&](auto zero) {
    using T = decltype(zero);
    const FlowChain<T> a{const_frames<T>(forward, "chain_flow"),
                         const_frames<T>(backward, "chain_flow"),
                         static_cast<int>(forward[0].size(1)),
                         static_cast<int>(forward[0].size(2)),
                         static_cast<int>(scale),
                         queries.const_data_ptr<int>(),
                         queries.size(0),
                         static_cast<int>(frame),
                         static_cast<int>(height),
                         static_cast<int>(width),
                         centres.mutable_data_ptr<int>()};
    launch_on(queries, [&](cudaStream_t stream) { launch_chain_flow(a, stream); });
  });
}

}  // namespace

namespace vnls {

void chain_flow(const FlowChain<float>& chain, cudaStream_t stream) { launch_chain_flow(chain, stream); }

}  // namespace vnls

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("chain_flow_out", TORCH_BOX(&chain_flow_out)); }
