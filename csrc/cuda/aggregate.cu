// Turns the fixed-point sums of group.h into the frame: noisy + sigma * mean change.
#include "cuda/launch.h"
#include "cuda/planes.h"
#include "group.h"

namespace {

using namespace vnls;

__global__ void normalise_kernel(const float* __restrict__ noisy, const long long* __restrict__ sums, float sigma,
                                 float* __restrict__ out, int64_t total) {
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < total; i += int64_t(gridDim.x) * blockDim.x)
    out[i] = noisy[i] + sigma * unpack_change(sums[i]);
}

void normalise_out(const Tensor& noisy, const Tensor& sums, double sigma, Tensor out) {
  check_contiguous(noisy, "normalise");
  check_contiguous(sums, "normalise");
  const int64_t total = noisy.numel();
  if (total == 0) return;
  launch_on(noisy, [&](cudaStream_t stream) {
    normalise(noisy.const_data_ptr<float>(), sums.const_data_ptr<int64_t>(), sigma, out.mutable_data_ptr<float>(),
              total, stream);
  });
}

}  // namespace

namespace vnls {

void normalise(const float* noisy, const int64_t* sums, double sigma, float* out, int64_t total, cudaStream_t stream) {
  normalise_kernel<<<blocks_for(total, 256), 256, 0, stream>>>(noisy, reinterpret_cast<const long long*>(sums),
                                                               static_cast<float>(sigma), out, total);
}

}  // namespace vnls

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("normalise_out", TORCH_BOX(&normalise_out)); }
