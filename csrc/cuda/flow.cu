// Chains neighbour flows into window centres for every frame of a temporal window: one thread a query and direction.
#include "cuda/launch.h"
#include "window.h"

namespace {

using namespace vnls;

template <typename T>
__global__ void chain_flow_kernel(Frames<const T> forward, Frames<const T> backward, int flow_h, int flow_w, int scale,
                                  const int* __restrict__ queries, int64_t total, int own, int height, int width,
                                  int2* __restrict__ centres) {
  const int64_t n = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (n >= total) return;
  const int count = forward.count;
  int2* out = centres + n * count;
  Point p{queries[2 * n], queries[2 * n + 1]};
  if (blockIdx.y == 0) {
    out[own] = {p.y, p.x};
    for (int f = own; f + 1 < count; ++f) {
      p = hop(forward.data[f], flow_h, flow_w, scale, p, height, width);
      out[f + 1] = {p.y, p.x};
    }
  } else {
    for (int f = own; f > 0; --f) {
      p = hop(backward.data[f], flow_h, flow_w, scale, p, height, width);
      out[f - 1] = {p.y, p.x};
    }
  }
}

void chain_flow_out(std::vector<Tensor> forward, std::vector<Tensor> backward, const Tensor& queries, int64_t frame,
                    int64_t scale, int64_t height, int64_t width, Tensor centres) {
  check_contiguous(queries, "chain_flow");
  check_contiguous(centres, "chain_flow");
  const int64_t total = queries.size(0);
  if (total == 0) return;
  dispatch_floating(forward[0], "chain_flow", [&](auto zero) {
    using T = decltype(zero);
    const auto ahead = const_frames<T>(forward, "chain_flow"), back = const_frames<T>(backward, "chain_flow");
    launch_on(queries, [&](cudaStream_t stream) {
      chain_flow_kernel<T><<<dim3(blocks_for(total, 128), 2), 128, 0, stream>>>(
          ahead, back, static_cast<int>(forward[0].size(1)), static_cast<int>(forward[0].size(2)),
          static_cast<int>(scale), queries.const_data_ptr<int>(), total, static_cast<int>(frame),
          static_cast<int>(height), static_cast<int>(width), reinterpret_cast<int2*>(centres.mutable_data_ptr<int>()));
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("chain_flow_out", TORCH_BOX(&chain_flow_out)); }
