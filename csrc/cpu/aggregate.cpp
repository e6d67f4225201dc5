// Turns the fixed-point sums of group.h into the frame: noisy + sigma * mean change.
#include "group.h"
#include "stable.h"

namespace {

using namespace vnls;

void normalise_out(const Tensor& noisy, const Tensor& sums, double sigma, Tensor out) {
  check_contiguous(noisy, "normalise");
  check_contiguous(sums, "normalise");
  const float* from = noisy.const_data_ptr<float>();
  const int64_t* sum = sums.const_data_ptr<int64_t>();
  float* to = out.mutable_data_ptr<float>();
  const float scale = static_cast<float>(sigma);
  torch::stable::parallel_for(0, noisy.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = from[i] + scale * unpack_change(sum[i]);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) { m.impl("normalise_out", TORCH_BOX(&normalise_out)); }
