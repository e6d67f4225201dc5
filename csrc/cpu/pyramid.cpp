// Halving and doubling of a plane along one axis with the half-band filter (taps.h).
#include <algorithm>
#include <vector>

#include "cpu/planes.h"
#include "taps.h"

namespace {

using namespace vnls;

// One output row of `inner` elements as a weighted sum of mirrored input rows; the taps run over rows, so both axes
// vectorise over whatever lies inside them.
template <typename T>
void halve_line(const T* in, T* out, int i, const Axis& a) {
  for (int64_t x = 0; x < a.inner; ++x) out[x] = 0;
  for (int k = 0; k < kTaps; ++k) {
    const T tap = static_cast<T>(half_band_tap(k));
    const T* row = in + half_sample_mirror(2 * i + k - (kTaps / 2 - 1), a.n) * a.inner;
    for (int64_t x = 0; x < a.inner; ++x) out[x] += tap * row[x];
  }
}

template <typename T>
void double_line(const T* in, T* out, int x, const Axis& a) {
  for (int64_t j = 0; j < a.inner; ++j) out[j] = 0;
  const int last = x + kTaps / 2 - 1;  // tap index of input sample i is last - 2i
  for (int k = last & 1; k < kTaps; k += 2) {
    const T tap = 2 * static_cast<T>(half_band_tap(k));
    const T* row = in + half_sample_mirror((last - k) / 2, a.n) * a.inner;
    for (int64_t j = 0; j < a.inner; ++j) out[j] += tap * row[j];
  }
}

// A row is taken apart into its even and odd samples (or put together from them), so that neighbouring outputs read
// neighbouring samples and the loops over outputs vectorise; every output adds its taps in their order.
template <typename T>
void halve_row(const T* in, T* out, const Axis& a, std::vector<T>& scratch) {
  constexpr int kReach = kTaps / 2;  // samples beyond the borders, one more than the taps need: an even number
  const int side = a.out + kReach;   // of one parity
  scratch.resize(2 * side);
  T* parity[2] = {scratch.data(), scratch.data() + side};
  const auto part = [&](int begin, int end, auto&& at) {
    for (int j = begin; j < end; ++j)
      for (int odd = 0; odd < 2; ++odd) parity[odd][j] = at(2 * j + odd - kReach);
  };
  const auto mirrored = [&](int x) { return in[half_sample_mirror(x, a.n)]; };
  const int inner = std::max(kReach / 2, kReach / 2 + a.n / 2);  // pairs before it lie inside the row
  part(0, kReach / 2, mirrored);
  part(kReach / 2, inner, [&](int x) { return in[x]; });
  part(inner, side, mirrored);
  std::fill_n(out, a.out, T(0));
  for (int k = 0; k < kTaps; ++k) {
    const T tap = static_cast<T>(half_band_tap(k));
    const T* from = parity[(k + 1) & 1] + (k + 1) / 2;  // sample 2i + k - 7, that is 2i + (k + 1) - kReach
    for (int i = 0; i < a.out; ++i) out[i] += tap * from[i];
  }
}

template <typename T>
void double_row(const T* in, T* out, const Axis& a, std::vector<T>& scratch) {
  constexpr int kReach = kTaps / 2;  // more than the taps of one parity need on either side
  const int pairs = (a.out + 1) / 2, side = pairs + 2 * kReach;
  scratch.resize(side + 2 * pairs);
  T *extended = scratch.data(), *parity[2] = {extended + side, extended + side + pairs};
  const int end = std::min(kReach + a.n, side);
  for (int i = 0; i < kReach; ++i) extended[i] = in[half_sample_mirror(i - kReach, a.n)];
  std::copy_n(in, end - kReach, extended + kReach);
  for (int i = end; i < side; ++i) extended[i] = in[half_sample_mirror(i - kReach, a.n)];
  for (int odd = 0; odd < 2; ++odd) {
    const int last = odd + kTaps / 2 - 1;
    std::fill_n(parity[odd], pairs, T(0));
    for (int k = last & 1; k < kTaps; k += 2) {
      const T tap = 2 * static_cast<T>(half_band_tap(k));
      const T* from = extended + (kReach + (last - k) / 2);
      for (int i = 0; i < pairs; ++i) parity[odd][i] += tap * from[i];
    }
  }
  for (int x = 0; x < a.out; ++x) out[x] = parity[x & 1][x / 2];
}

// minuend: null, or what the result is taken from.
template <typename T, bool kDouble>
void resample_planes(const T* in, const Axis& a, const T* minuend, T* out) {
  const auto taken = [&](int64_t begin, int64_t end) {
    if (minuend != nullptr)
      for (int64_t i = begin; i < end; ++i) out[i] = minuend[i] - out[i];
  };
  if (a.inner == 1) {
    torch::stable::parallel_for(0, a.outer, 32, [&](int64_t begin, int64_t end) {
      std::vector<T> scratch;
      for (int64_t o = begin; o < end; ++o) {
        if constexpr (kDouble) {
          double_row(in + o * a.n, out + o * a.out, a, scratch);
        } else {
          halve_row(in + o * a.n, out + o * a.out, a, scratch);
        }
        taken(o * a.out, (o + 1) * a.out);
      }
    });
    return;
  }
  torch::stable::parallel_for(0, a.outer * a.out, 16, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t o = line / a.out;
      const int i = static_cast<int>(line % a.out);
      const T* from = in + o * a.n * a.inner;
      if constexpr (kDouble) {
        double_line(from, out + line * a.inner, i, a);
      } else {
        halve_line(from, out + line * a.inner, i, a);
      }
      taken(line * a.inner, (line + 1) * a.inner);
    }
  });
}

template <bool kDouble>
void resample(const Tensor& video, int64_t axis, Tensor out, const char* name) {
  check_contiguous(video, name);
  check_contiguous(out, name);
  const Axis a = axis_of(video, out, axis);
  if (out.numel() == 0) return;
  dispatch_floating(video, name, [&](auto zero) {
    using T = decltype(zero);
    resample_planes<T, kDouble>(video.const_data_ptr<T>(), a, nullptr, out.mutable_data_ptr<T>());
  });
}

void halve_out(const Tensor& video, int64_t axis, Tensor out) { resample<false>(video, axis, out, "halve"); }
void double_out(const Tensor& video, int64_t axis, Tensor out) { resample<true>(video, axis, out, "double"); }

}  // namespace

namespace vnls {

void halve(const float* in, const Axis& axis, const float* minuend, float* out) {
  resample_planes<float, false>(in, axis, minuend, out);
}

void enlarge(const float* in, const Axis& axis, const float* minuend, float* out) {
  resample_planes<float, true>(in, axis, minuend, out);
}

}  // namespace vnls

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("halve_out", TORCH_BOX(&halve_out));
  m.impl("double_out", TORCH_BOX(&double_out));
}
