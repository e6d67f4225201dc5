// Every operator's schema, one line each. Python allocates the outputs (vnlsdenoise/ops), kernels fill them.
#include "stable.h"

STABLE_TORCH_LIBRARY(vnlsdenoise, m) {
  m.def("halve_out(Tensor video, int axis, Tensor(a!) out) -> ()");
  m.def("double_out(Tensor video, int axis, Tensor(a!) out) -> ()");
  m.def(
      "tvl1_flow_out(Tensor source, Tensor target, float attachment, float tightness, float step, int levels, int "
      "warps, "
      "int coarse_warps, int iterations, Tensor(a!) workspace, Tensor(b!) flow) -> ()");
}
