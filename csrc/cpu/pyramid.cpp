// Halving and doubling of a plane along one axis with the half-band filter (taps.h).
#include "pyramid.h"

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

template <typename T>
void halve_row(const T* in, T* out, const Axis& a) {
  const int first = (kTaps / 2 - 1 + 1) / 2;  // first output whose taps all lie inside
  for (int i = 0; i < a.out; ++i) {
    const int start = 2 * i - (kTaps / 2 - 1);
    T sum = 0;
    if (i >= first && start + kTaps <= a.n) {
      for (int k = 0; k < kTaps; ++k) sum += static_cast<T>(half_band_tap(k)) * in[start + k];
    } else {
      for (int k = 0; k < kTaps; ++k) sum += static_cast<T>(half_band_tap(k)) * in[half_sample_mirror(start + k, a.n)];
    }
    out[i] = sum;
  }
}

template <typename T>
void double_row(const T* in, T* out, const Axis& a) {
  for (int x = 0; x < a.out; ++x) {
    const int last = x + kTaps / 2 - 1;
    T sum = 0;
    for (int k = last & 1; k < kTaps; k += 2) {
      const int i = (last - k) / 2;
      sum += 2 * static_cast<T>(half_band_tap(k)) * in[i >= 0 && i < a.n ? i : half_sample_mirror(i, a.n)];
    }
    out[x] = sum;
  }
}

template <bool kDouble>
void resample(const Tensor& video, int64_t axis, Tensor out, const char* name) {
  check_contiguous(video, name);
  check_contiguous(out, name);
  const Axis a = axis_of(video, out, axis);
  if (out.numel() == 0) return;
  dispatch_floating(video, name, [&](auto zero) {
    using T = decltype(zero);
    const T* in = video.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    if (a.inner == 1) {
      torch::stable::parallel_for(0, a.outer, 32, [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          if constexpr (kDouble) {
            double_row(in + o * a.n, to + o * a.out, a);
          } else {
            halve_row(in + o * a.n, to + o * a.out, a);
          }
        }
      });
    } else {
      torch::stable::parallel_for(0, a.outer * a.out, 16, [&](int64_t begin, int64_t end) {
        for (int64_t line = begin; line < end; ++line) {
          const int64_t o = line / a.out;
          const int i = static_cast<int>(line % a.out);
          const T* from = in + o * a.n * a.inner;
          if constexpr (kDouble) {
            double_line(from, to + line * a.inner, i, a);
          } else {
            halve_line(from, to + line * a.inner, i, a);
          }
        }
      });
    }
  });
}

void halve_out(const Tensor& video, int64_t axis, Tensor out) { resample<false>(video, axis, out, "halve"); }
void double_out(const Tensor& video, int64_t axis, Tensor out) { resample<true>(video, axis, out, "double"); }

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) {
  m.impl("halve_out", TORCH_BOX(&halve_out));
  m.impl("double_out", TORCH_BOX(&double_out));
}
