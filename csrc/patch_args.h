// From what Python passes to the geometry of a patch form, on the host of both backends.
#pragma once

#include "patch_form.h"
#include "stable.h"

namespace vnls {

// The order of fields is that of vnlsdenoise/ops/_patch_form.py: Form.
inline PatchForm patch_form(const std::vector<int64_t>& fields) {
  STD_TORCH_CHECK(fields.size() == 22, "patch form: expected 22 fields, got ", fields.size());
  PatchForm form{};
  form.lists = fields[0];
  form.share = fields[1];
  int* const narrow[] = {&form.frames,      &form.height,       &form.width,   &form.channels,   &form.query_frames,
                         &form.rows,        &form.columns,      &form.count,   &form.out_frames, &form.out_height,
                         &form.out_width,   &form.patch,        &form.depth,   &form.stride_in,  &form.stride_out,
                         &form.dilation_in, &form.dilation_out, &form.lead_in, &form.lead_out};
  for (size_t i = 0; i < 19; ++i) {
    STD_TORCH_CHECK(fields[i + 2] >= 0 && fields[i + 2] < INT32_MAX, "patch form: field ", i + 2, " out of range");
    *narrow[i] = static_cast<int>(fields[i + 2]);
  }
  form.reflect = fields[21] != 0;
  STD_TORCH_CHECK(form.plane_pixels() < (int64_t(1) << 30), "patch form: more than 2^30 pixels in one plane");
  STD_TORCH_CHECK(form.share * form.out_pixels() < (int64_t(1) << 30), "patch form: more than 2^30 pixels of g");
  STD_TORCH_CHECK(form.share > 0 && form.lists % form.share == 0, "patch form: lists must share planes evenly");
  STD_TORCH_CHECK(form.share * form.entries_per_list() < INT32_MAX, "patch form: too many neighbours for one plane");
  auto divider = [](int n) { return Divider(static_cast<uint32_t>(n > 0 ? n : 1)); };
  form.by_frames = divider(form.query_frames);
  form.by_rows = divider(form.rows);
  form.by_columns = divider(form.columns);
  form.by_count = divider(form.count);
  form.by_width = divider(form.width);
  form.by_height = divider(form.height);
  return form;
}

inline void check_source(const PatchForm& form, const Tensor& v) {
  check_contiguous(v, "patch form: v");
  STD_TORCH_CHECK(v.numel() == form.lists / form.share * form.plane_pixels() * form.channels, "patch form: size of v");
}

inline void check_target(const PatchForm& form, const Tensor& g) {
  check_contiguous(g, "patch form: g");
  STD_TORCH_CHECK(g.numel() == form.lists * form.out_pixels() * form.channels, "patch form: size of g");
}

// lists: weights or codes, one for each entry
inline void check_offsets(const PatchForm& form, const Tensor& lists, const Tensor& offsets) {
  check_contiguous(lists, "patch form: lists");
  check_contiguous(offsets, "patch form: offsets");
  STD_TORCH_CHECK(lists.numel() == form.lists * form.entries_per_list(), "patch form: number of weights");
  STD_TORCH_CHECK(offsets.numel() == 3 * lists.numel(), "patch form: number of offsets");
}

inline void check_lists(const PatchForm& form, const Tensor& weights, const Tensor& codes, const Tensor& fractions) {
  check_contiguous(weights, "patch form: weights");
  STD_TORCH_CHECK(weights.numel() == form.lists * form.entries_per_list(), "patch form: number of weights");
  STD_TORCH_CHECK(codes.numel() == weights.numel(), "patch form: number of codes");
  STD_TORCH_CHECK(fractions.numel() == 0 || fractions.numel() == 2 * codes.numel(), "patch form: fractions");
}

// Calls body(zero of the elements, whether samples lie between pixels, as a type).
template <typename Body>
void dispatch_located(const Tensor& elements, const Tensor& fractions, Body&& body) {
  dispatch_floating(elements, "patch form", [&](auto zero) {
    if (fractions.numel() == 0) return body(zero, std::false_type{});
    body(zero, std::true_type{});
  });
}

// Calls body(zero of a coordinate, zero of an offset).
template <typename Body>
void dispatch_offsets(const Tensor& offsets, Body&& body) {
  if (offsets.scalar_type() == ScalarType::Int) return body(float{}, int{});
  dispatch_floating(offsets, "patch form", [&](auto zero) { body(zero, zero); });
}

// Calls body(zero of the elements, zero of the offsets): whole offsets are int, others have the type of the elements.
template <typename Body>
void dispatch_patches(const Tensor& elements, const Tensor& offsets, Body&& body) {
  dispatch_floating(elements, "patch form", [&](auto zero) {
    using T = decltype(zero);
    if (offsets.scalar_type() == ScalarType::Int) return body(T{}, int{});
    STD_TORCH_CHECK(offsets.scalar_type() == elements.scalar_type(), "patch form: type of the offsets");
    body(T{}, T{});
  });
}

}  // namespace vnls
