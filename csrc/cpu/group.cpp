// The two group filters, each fused: gather a group, filter it, add it to the fixed-point sums.
#include <algorithm>
#include <vector>

#include "cpu/band_locks.h"
#include "cpu/isa.h"
#include "group_args.h"

#define VNLS_KERNEL "cpu/group_kernel.h"
#include "cpu/isa_variants.h"

namespace {

using namespace vnls;

constexpr int kGroupsPerTask = 32;

void shrink_groups_(std::vector<Tensor> noisy, const Tensor& queries, const Tensor& offsets, int64_t frame,
                    int64_t patch, double sigma, double mean_threshold, std::vector<Tensor> sums) {
  const GroupArgs a = group_args(noisy, {}, queries, offsets, frame, patch, sigma, sums, "shrink_groups");
  const ShrinkParameters parameters{static_cast<float>(mean_threshold)};
  BandLocks locks(a);
  torch::stable::parallel_for(0, a.count, kGroupsPerTask, [&](int64_t begin, int64_t end) {
    VNLS_DISPATCH_ISA(shrink_groups(a, parameters, begin, end, locks));
  });
}

void wiener_groups_(std::vector<Tensor> noisy, std::vector<Tensor> basic, const Tensor& queries, const Tensor& offsets,
                    int64_t frame, int64_t patch, double sigma, double tau, double flat, double mean_bias,
                    std::vector<Tensor> sums) {
  const GroupArgs a = group_args(noisy, basic, queries, offsets, frame, patch, sigma, sums, "wiener_groups");
  const WienerParameters parameters{static_cast<float>(tau), static_cast<float>(flat), static_cast<float>(mean_bias)};
  BandLocks locks(a);
  torch::stable::parallel_for(0, a.count, kGroupsPerTask, [&](int64_t begin, int64_t end) {
    VNLS_DISPATCH_ISA(wiener_groups(a, parameters, begin, end, locks));
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("shrink_groups_", TORCH_BOX(&shrink_groups_));
  m.impl("wiener_groups_", TORCH_BOX(&wiener_groups_));
}
