// Turns the fixed-point sums of group.h into the frame: noisy + sigma * mean change.
#include "cpu/planes.h"
#include "group.h"

namespace {

using namespace vnls;

void normalise_out(const Tensor& noisy, const Tensor& sums, double sigma, Tensor out) {
  check_contiguous(noisy, "normalise");
  check_contiguous(sums, "normalise");
  normalise(noisy.const_data_ptr<float>(), sums.const_data_ptr<int64_t>(), sigma, out.mutable_data_ptr<float>(),
            noisy.numel());
}

}  // namespace

namespace vnls {

void normalise(const float* noisy, const int64_t* sums, double sigma, float* out, int64_t total) {
  const float scale = static_cast<float>(sigma);
  torch::stable::parallel_for(0, total, 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = noisy[i] + scale * unpack_change(sums[i]);
  });
}

}  // namespace vnls

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) { m.impl("normalise_out", TORCH_BOX(&normalise_out)); }
