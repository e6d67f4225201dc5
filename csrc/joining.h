// What joins a level of the pyramid with the coarser one, as a chain of steps in one call: a host takes longer to
// launch each by itself than a GPU to do it. Both backends' chains; their `Steps` are kernels on whole planes of
// floats.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "pyramid.h"

namespace vnls {

// Floats [count, height, width].
struct Planes {
  int count, height, width;

  int64_t area() const { return int64_t(height) * width; }
  int64_t size() const { return count * area(); }
  Planes halved() const { return {count, (height + 1) / 2, (width + 1) / 2}; }
  // Of what lies between halving or doubling along one axis and the other.
  int64_t half_way() const {
    return count * std::max(int64_t(height) * ((width + 1) / 2), int64_t((height + 1) / 2) * width);
  }
};

inline Planes planes_of(const Tensor& video) {
  return {static_cast<int>(video.size(0)), static_cast<int>(video.size(1)), static_cast<int>(video.size(2))};
}

inline Axis along_x(Planes from, int out) { return {int64_t(from.count) * from.height, 1, from.width, out}; }
inline Axis along_y(Planes from, int out) { return {from.count, from.width, from.height, out}; }

// Hands out pieces of a tensor that is filled from its start.
struct Scratch {
  float* next;

  float* take(int64_t size) {
    float* piece = next;
    next += size;
    return piece;
  }
};

// ops.pyramid_down of planes of a size; or `minuend`, where there is one, less that. between: `half_way`.
template <class Steps>
void pyramid_down(const Steps& steps, const float* from, Planes size, const float* minuend, float* between, float* to) {
  const Planes half = size.halved();
  steps.halve(from, along_x(size, half.width), nullptr, between);
  steps.halve(between, along_y({size.count, size.height, half.width}, half.height), minuend, to);
}

// ops.pyramid_up to planes of a size; or `minuend`, where there is one, less that. between: `half_way`.
template <class Steps>
void pyramid_up(const Steps& steps, const float* from, Planes size, const float* minuend, float* between, float* to) {
  const Planes half = size.halved();
  steps.enlarge(from, along_x(half, size.width), nullptr, between);
  steps.enlarge(between, along_y({size.count, half.height, size.width}, size.height), minuend, to);
}

// Floats that `search_image` leaves in its scratch.
inline int64_t search_image_scratch(Planes luma) { return 2 * luma.size() + luma.halved().size() + luma.half_way(); }

// The coarser luma enlarged + weight * blur(what luma has above its own low band): luma of one plane, [H, W].
template <class Steps>
void search_image(const Steps& steps, const float* luma, const float* coarse, Planes size, double weight,
                  Scratch scratch, float* out) {
  float *base = scratch.take(size.size()), *band = scratch.take(size.size());
  float *low = scratch.take(size.halved().size()), *between = scratch.take(size.half_way());
  pyramid_up(steps, coarse, size, nullptr, between, base);
  pyramid_down(steps, luma, size, nullptr, between, low);
  pyramid_up(steps, low, size, luma, between, band);
  steps.guide(base, band, size, weight, out);
}

// Floats that `joined_frame` leaves in its scratch.
inline int64_t joined_frame_scratch(Planes frame) {
  const Planes half = frame.halved();
  return 3 * frame.size() + frame.area() + half.size() + half.halved().size() + frame.half_way();
}

// Step 1's frame from its sums, with the coarser level's low frequencies, its fine band filtered.
template <class Steps>
void joined_frame(const Steps& steps, const float* noisy, const int64_t* sums, const float* coarse, Planes size,
                  double sigma, double fade, int neighbors, Scratch scratch, float* out) {
  const Planes half = size.halved();
  float *enlarged = scratch.take(size.size()), *low = scratch.take(size.size()), *basic = scratch.take(size.size());
  float *variance = scratch.take(size.area()), *difference = scratch.take(half.size());
  float *lower = scratch.take(half.halved().size()), *between = scratch.take(size.half_way());
  steps.normalise(noisy, sums, size, sigma, out);
  pyramid_up(steps, coarse, size, nullptr, between, enlarged);
  steps.local_variance(enlarged, size, variance);
  pyramid_down(steps, out, size, coarse, between, difference);
  pyramid_down(steps, difference, half, nullptr, between, lower);
  pyramid_up(steps, lower, half, nullptr, between, difference);
  pyramid_up(steps, difference, size, nullptr, between, low);
  steps.recompose(out, low, variance, size, sigma, fade, basic);
  steps.fine_wiener(basic, enlarged, variance, size, sigma, neighbors, out);
}

// The same of tensors, as the operators take them.
template <class Steps>
void search_image_of(const Steps& steps, const Tensor& luma, const std::optional<Tensor>& coarse, double weight,
                     Tensor scratch, Tensor out) {
  const char* name = "search_image";
  check_contiguous(luma, name);
  const Planes size{1, static_cast<int>(luma.size(0)), static_cast<int>(luma.size(1))};
  const float* from = luma.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  if (!coarse.has_value()) return steps.guide(nullptr, from, size, weight, to);
  check_contiguous(*coarse, name);
  STD_TORCH_CHECK(scratch.numel() >= search_image_scratch(size), name, ": scratch is too small");
  search_image(steps, from, coarse->const_data_ptr<float>(), size, weight, {scratch.mutable_data_ptr<float>()}, to);
}

template <class Steps>
void joined_frame_of(const Steps& steps, const Tensor& noisy, const Tensor& sums, const Tensor& coarse, double sigma,
                     double fade, int64_t neighbors, Tensor scratch, Tensor out) {
  const char* name = "joined_frame";
  for (const Tensor* tensor : {&noisy, &sums, &coarse}) check_contiguous(*tensor, name);
  const Planes size = planes_of(noisy);
  STD_TORCH_CHECK(scratch.numel() >= joined_frame_scratch(size), name, ": scratch is too small");
  joined_frame(steps, noisy.const_data_ptr<float>(), sums.const_data_ptr<int64_t>(), coarse.const_data_ptr<float>(),
               size, sigma, fade, static_cast<int>(neighbors), {scratch.mutable_data_ptr<float>()},
               out.mutable_data_ptr<float>());
}

}  // namespace vnls
