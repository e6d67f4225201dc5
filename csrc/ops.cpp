// Every operator's schema, one line each. Python allocates the outputs (vnlsdenoise/ops), kernels fill them.
#include "stable.h"

STABLE_TORCH_LIBRARY(vnlsdenoise, m) {
  m.def("halve_out(Tensor video, int axis, Tensor(a!) out) -> ()");
  m.def("double_out(Tensor video, int axis, Tensor(a!) out) -> ()");
  m.def(
      "chain_flow_out(Tensor[] forward, Tensor[] backward, Tensor queries, int frame, int scale, int height, int "
      "width, "
      "Tensor(a!) centres) -> ()");
  m.def(
      "search_out(Tensor[] guide, Tensor queries, Tensor centres, int frame, int patch, int side, int side_other, "
      "Tensor(a!) distances, Tensor(b!) offsets) -> ()");
  m.def(
      "search_along_flow_out(Tensor[] guide, Tensor[] fields, Tensor queries, int frame, int scale, int patch, int "
      "side, "
      "int side_other, Tensor(a!) centres, Tensor(b!) distances, Tensor(c!) offsets) -> ()");
  m.def(
      "shrink_groups_(Tensor[] noisy, Tensor queries, Tensor offsets, int frame, int patch, float sigma, "
      "float mean_threshold, Tensor(a!)[] sums) -> ()");
  m.def(
      "wiener_groups_(Tensor[] noisy, Tensor[] basic, Tensor queries, Tensor offsets, int frame, int patch, float "
      "sigma, "
      "float tau, float flat, float mean_bias, Tensor(a!)[] sums) -> ()");
  m.def("normalise_out(Tensor noisy, Tensor sums, float sigma, Tensor(a!) out) -> ()");
  m.def("guide_out(Tensor base, Tensor band, float weight, Tensor(a!) out) -> ()");
  m.def("local_variance_out(Tensor video, Tensor(a!) variance) -> ()");
  m.def("recompose_out(Tensor basic, Tensor low, Tensor variance, float sigma, float fade, Tensor(a!) out) -> ()");
  m.def(
      "fine_wiener_out(Tensor basic, Tensor coarse, Tensor variance, float sigma, int neighbors, Tensor(a!) out) -> "
      "()");
  m.def("search_image_out(Tensor luma, Tensor? coarse, float weight, Tensor(a!) scratch, Tensor(b!) out) -> ()");
  m.def(
      "joined_frame_out(Tensor noisy, Tensor sums, Tensor coarse, float sigma, float fade, int neighbors, "
      "Tensor(a!) scratch, Tensor(b!) out) -> ()");
  m.def(
      "tvl1_flow_out(Tensor source, Tensor target, float attachment, float tightness, float step, int levels, int "
      "warps, "
      "int coarse_warps, int iterations, Tensor(a!) workspace, Tensor(b!) flow) -> ()");
  m.def("patch_gather_out(Tensor v, Tensor weights, Tensor codes, Tensor fractions, int[] form, Tensor(a!) out) -> ()");
  m.def("patch_locate_out(Tensor offsets, int[] form, Tensor(a!) codes, Tensor(b!) fractions) -> ()");
  m.def("patch_count_out(Tensor codes, int[] form, Tensor(a!) counts) -> ()");
  m.def("patch_fill_out(Tensor codes, Tensor starts, int[] form, Tensor(a!) counts, Tensor(b!) entries) -> ()");
  m.def(
      "patch_order_out(Tensor entries, Tensor weights, Tensor codes, Tensor starts, int[] form, Tensor(a!) ordered, "
      "Tensor(b!) targets, Tensor(c!) ordered_weights) -> ()");
  m.def(
      "patch_spread_out(Tensor g, Tensor weights, Tensor fractions, Tensor starts, Tensor entries, Tensor targets, "
      "int[] form, Tensor(a!) out) -> ()");
  m.def(
      "patch_dots_out(Tensor v, Tensor g, Tensor weights, Tensor offsets, int[] form, Tensor(a!) of_weights, "
      "Tensor(b!) of_offsets) -> ()");
  m.def("unfold_out(Tensor video, int[] grid, Tensor(a!) patches) -> ()");
  m.def("fold_add_out(Tensor patches, int[] grid, Tensor(a!) video) -> ()");
  m.def("weighted_filter_out(Tensor images, Tensor weights, int side, bool splat, Tensor(a!) out) -> ()");
  m.def("weighted_filter_dots_out(Tensor images, Tensor targets, int side, Tensor(a!) of_weights) -> ()");
  m.def("search_flow_out(Tensor forward, Tensor backward, int reach, int stride, Tensor(a!) flows) -> ()");
  m.def(
      "search_flow_hops_out(Tensor forward, Tensor backward, Tensor flows, Tensor gradient, int reach, int stride, "
      "Tensor(a!) hops) -> ()");
  m.def(
      "search_flow_scatter_(Tensor forward, Tensor backward, Tensor flows, Tensor hops, Tensor scale, int reach, "
      "int stride, Tensor(a!) forward_sums, Tensor(b!) backward_sums) -> ()");
  m.def(
      "nonlocal_search_out(Tensor queries, Tensor keys, Tensor centres, int[] settings, float stride1, "
      "Tensor(a!) distances, Tensor(b!) offsets, Tensor(c!) ordinals) -> ()");
  m.def(
      "nonlocal_search_gradients_(Tensor queries, Tensor keys, Tensor centres, Tensor ordinals, Tensor gradient, "
      "Tensor? gradient_offsets, Tensor scale, int[] settings, float stride1, Tensor(a!) query_sums, "
      "Tensor(b!) key_sums, Tensor(c!)? centre_gradient) -> ()");
  // Of the learned denoiser, on CUDA alone: vnlsdenoise/learned/passes.py does them in plain torch elsewhere.
  m.def("add_bias_(Tensor(a!) maps, Tensor bias) -> ()");
  m.def("add_bias_gelu_(Tensor(a!) maps, Tensor bias) -> ()");
  m.def("add_residual_(Tensor(a!) maps, Tensor base, Tensor gain, Tensor bias) -> ()");
  m.def("add_enlarged_(Tensor(a!) maps, Tensor below) -> ()");
  m.def("see_out(Tensor state, Tensor? flow, int top, int left, Tensor(a!) out) -> ()");
  m.def(
      "views_out(Tensor[] noisy, Tensor[] classic, Tensor channels, int top, int left, int map_height, int map_width, "
      "Tensor(a!) out) -> ()");
  m.def(
      "convolve_out(Tensor[] maps, Tensor weight, Tensor bias, Tensor? gain, Tensor? base, bool gelu, Tensor(a!) out) "
      "-> ()");
  m.def("convolve_halving_out(Tensor maps, Tensor weight, Tensor bias, Tensor(a!) out) -> ()");
  m.def("convolve_enlarging_(Tensor(a!) maps, Tensor below, Tensor weight) -> ()");
  m.def("correct_(Tensor(a!)[] corrections, Tensor[] base, Tensor(b!) faults) -> ()");
  m.def("planes_out(Tensor maps, Tensor(a!) whole, Tensor(b!)? half) -> ()");
}
