// Body of the CPU group filters; included once an instruction set by group.cpp (isa.h), inside a namespace.

#include "cpu/matrix_kernel.h"

// Scratch of one thread, laid out once: no allocation a group.
struct Scratch {
  Scratch(int patch, int neighbors, int channels) {
    const int d = patch * patch;
    padded = (d + 15) / 16 * 16;
    const size_t group = static_cast<size_t>(neighbors) * padded, square = static_cast<size_t>(neighbors) * neighbors;
    const size_t floats = channels * (2 * group + 4 * padded) + group + 10 * square + 3 * padded + 2 * patch * patch;
    storage.resize(floats + 64);
    float* at = storage.data();
    at += (64 - (reinterpret_cast<uintptr_t>(at) & 63)) / 4 % 16;
    auto take = [&](size_t n) {
      float* p = at;
      at += n;
      return p;
    };
    noisy = take(channels * group);
    basic = take(channels * group);
    transposed = take(group);
    for (float*& s : squares) s = take(square);
    noisy_mean = take(channels * padded);
    basic_mean = take(channels * padded);
    mean_change = take(channels * padded);
    content = take(channels * padded);
    for (float*& s : spectra) s = take(padded);
    dct = take(patch * patch);
    dct_transposed = take(patch * patch);
    for (int k = 0; k < patch; ++k)
      for (int x = 0; x < patch; ++x)
        dct[k * patch + x] = dct_transposed[x * patch + k] =
            static_cast<float>(std::cos(M_PI * (x + 0.5) * k / patch) * std::sqrt((k == 0 ? 1.0 : 2.0) / patch));
  }

  int padded;  // pixels of a patch, rounded up to whole tiles with zeros
  std::vector<float> storage;
  float *noisy, *basic, *transposed, *squares[10];
  float *noisy_mean, *basic_mean, *mean_change, *content, *spectra[3];
  float *dct, *dct_transposed;  // [patch, patch]
};

template <int kPatch>
inline void copy_patch(int patch, const float* from, int64_t width, float scale, float* to) {
  const int p = kPatch ? kPatch : patch;
  for (int y = 0; y < p; ++y)
    for (int x = 0; x < p; ++x) to[y * p + x] = from[y * width + x] * scale;
}

// Patches of one group as rows in units of sigma, minus their mean: rows [neighbors, padded], mean [padded].
inline void gather_centred(const GroupArgs& a, const Frames<const float>& frames, int64_t n, int channel, int padded,
                           float* rows, float* mean) {
  const int64_t plane = static_cast<int64_t>(channel) * a.height * a.width;
  const auto copy = a.patch == 8    ? copy_patch<8>
                    : a.patch == 10 ? copy_patch<10>
                    : a.patch == 12 ? copy_patch<12>
                                    : copy_patch<0>;
  for (int x = 0; x < padded; x += kLanes) store(mean + x, Vector{});
  for (int k = 0; k < a.neighbors; ++k) {
    const Place place = place_of(a, n, k);
    float* row = rows + k * padded;
    copy(a.patch, frames.data[place.frame] + plane + place.start, a.width, a.scale, row);
    for (int x = a.patch * a.patch; x < padded; ++x) row[x] = 0;
  }
  for (int k = 0; k < a.neighbors; ++k)
    for (int x = 0; x < padded; x += kLanes) store(mean + x, load(mean + x) + load(rows + k * padded + x));
  const float inverse = 1.f / a.neighbors;
  for (int x = 0; x < padded; x += kLanes) store(mean + x, load(mean + x) * inverse);
  for (int k = 0; k < a.neighbors; ++k)
    for (int x = 0; x < padded; x += kLanes) store(rows + k * padded + x, load(rows + k * padded + x) - load(mean + x));
}

// out = left in right, all of them patches. Inner loops run along rows, to vectorise.
template <int kPatch>
inline void product_of_patches(int patch, const float* left, const float* in, const float* right, float* out,
                               float* between) {
  const int p = kPatch ? kPatch : patch;
  const auto multiply = [p](const float* a, const float* b, float* to) {
    for (int i = 0; i < p; ++i) {
      float row[kPatch ? kPatch : kMaxPatch] = {};
      for (int y = 0; y < p; ++y) {
#pragma GCC unroll 1  // vectorised, not taken apart
        for (int x = 0; x < p; ++x) row[x] += a[i * p + y] * b[y * p + x];
      }
      for (int x = 0; x < p; ++x) to[i * p + x] = row[x];
    }
  };
  multiply(left, in, between);
  multiply(between, right, out);
}

// out = D in D^T, or D^T in D (inverse): the orthonormal DCT of a patch.
inline void transform(int p, const Scratch& s, bool inverse, const float* in, float* out, float* between) {
  const float *dct = inverse ? s.dct_transposed : s.dct, *transposed = inverse ? s.dct : s.dct_transposed;
  const auto multiply = p == 8    ? product_of_patches<8>
                        : p == 10 ? product_of_patches<10>
                        : p == 12 ? product_of_patches<12>
                                  : product_of_patches<0>;
  multiply(p, dct, in, transposed, out, between);
}

template <int kPatch>
inline void add_rows(int patch, int rows, const long long* packed, int64_t width, long long* to) {
  const int p = kPatch ? kPatch : patch;
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < p; ++x) to[y * width + x] += packed[y * p + x];
}

// Adds change[neighbors, padded] (+ mean_change[padded]) of one channel to the sums under every patch of the group.
inline void add_changes(const GroupArgs& a, int64_t n, int channel, int padded, const float* change,
                        const float* mean_change, float weight, BandLocks& locks) {
  const int p = a.patch, steps = quantise_weight(weight);
  const int64_t plane = static_cast<int64_t>(channel) * a.height * a.width;
  long long packed[kMaxPatch * kMaxPatch];
  const auto add = p == 8 ? add_rows<8> : p == 10 ? add_rows<10> : p == 12 ? add_rows<12> : add_rows<0>;
  for (int k = 0; k < a.neighbors; ++k) {
    const float* row = change + k * padded;
    for (int x = 0; x < p * p; ++x) packed[x] = pack_change(row[x] + mean_change[x], steps);
    const Place place = place_of(a, n, k);
    const int top = static_cast<int>(place.start / a.width);
    long long* to = a.sums.data[place.frame] + plane + place.start;
    for (int y = 0; y < p;) {
      const int band = (top + y) / BandLocks::kRows;
      const int end = std::min(p, (band + 1) * BandLocks::kRows - top);
      std::atomic_flag& lock = locks.flags[place.frame * locks.bands + band];
      while (lock.test_and_set(std::memory_order_acquire)) {
      }
      add(p, end - y, packed + y * p, a.width, to + y * static_cast<int64_t>(a.width));
      y = end;
      lock.clear(std::memory_order_release);
    }
  }
}

// Step 1: singular value shrinkage of luma alone and of both chroma channels with one common matrix.
inline void shrink_groups(const GroupArgs& a, const ShrinkParameters& parameters, int64_t begin, int64_t end,
                          BandLocks& locks) {
  const int K = a.neighbors, p = a.patch, d = p * p, kk = K * K;
  Scratch s(p, K, a.channels);
  const int group = K * s.padded;
  float *gram = s.squares[0], *gain = s.squares[1], *square = s.squares[2], *cube = s.squares[3];
  for (int64_t n = begin; n < end; ++n) {
    for (int first = 0; first < a.channels; first += first == 0 ? 1 : 2) {
      const int last = first == 0 ? 1 : a.channels;
      for (int c = first; c < last; ++c) {
        float* rows = s.noisy + c * group;
        gather_centred(a, a.noisy, n, c, s.padded, rows, s.noisy_mean);
        transpose(K, s.padded, rows, s.padded, s.transposed, K);
        product(K, K, s.padded, rows, s.padded, s.transposed, K, gram, K, c > first);
        // The group's mean: hard threshold of its DCT, DC kept.
        const float threshold = parameters.mean_threshold / std::sqrt(static_cast<float>(K));
        transform(p, s, false, s.noisy_mean, s.spectra[0], s.spectra[1]);
        for (int x = 1; x < d; ++x)
          if (std::fabs(s.spectra[0][x]) <= threshold) s.spectra[0][x] = 0;
        float* change = s.mean_change + c * s.padded;
        transform(p, s, true, s.spectra[0], change, s.spectra[1]);
        for (int x = 0; x < d; ++x) change[x] -= s.noisy_mean[x];
      }
      const ShrinkConstants constants = shrink_constants(K, (last - first) * d);
      for (int i = 0; i < kk; ++i) gram[i] *= constants.gram_scale;
      float trace = 0;
      for (int i = 0; i < K; ++i) trace += gram[i * K + i];
      const float delta = kShrinkDelta * edge_factor(first == 0, trace * constants.content_scale);
      for (int i = 0; i < K; ++i) gram[i * K + i] += delta;
      invert(K, gram);
      for (int i = 0; i < kk; ++i) gram[i] *= delta;  // h
      for (int i = 0; i < kk; ++i) gain[i] = -gram[i];
      for (int i = 0; i < K; ++i) gain[i * K + i] += 1;
      for (int step = 0; step < kShrinkSteps; ++step) {
        product(K, K, K, gain, K, gain, K, square, K);
        product(K, K, K, square, K, gain, K, cube, K);
        for (int i = 0; i < kk; ++i) gain[i] = 3 * square[i] - 2 * cube[i];
      }
      // What is taken away: -(I - v + slope v h).
      product(K, K, K, gain, K, gram, K, cube, K);
      for (int i = 0; i < kk; ++i) gain[i] -= constants.slope * cube[i];
      for (int i = 0; i < K; ++i) gain[i * K + i] -= 1;
      for (int c = first; c < last; ++c) {
        product(K, s.padded, K, gain, K, s.noisy + c * group, s.padded, s.basic, s.padded);
        add_changes(a, n, c, s.padded, s.basic, s.mean_change + c * s.padded, 1.f, locks);
      }
    }
  }
}

// Step 2: two-sided empirical Wiener filter with the basic estimate as oracle.
inline void wiener_groups(const GroupArgs& a, const WienerParameters& parameters, int64_t begin, int64_t end,
                          BandLocks& locks) {
  const int K = a.neighbors, p = a.patch, d = p * p, kk = K * K;
  Scratch s(p, K, a.channels);
  const int group = K * s.padded;
  float *gram = s.squares[0], *cross = s.squares[1], *factor = s.squares[2], *work = s.squares[3];
  float *u = s.squares[4], *w = s.squares[5], *w2 = s.squares[6], *polynomial = s.squares[7], *left = s.squares[8];
  float* gains = s.squares[9];
  const float inverse_count = 1.f / K;
  for (int64_t n = begin; n < end; ++n) {
    // Means, and how much content the group has: variance about the mean plus the mean's own structure.
    float content = 0, mean_gain_energy[3];
    for (int c = 0; c < a.channels; ++c) {
      float *noisy = s.noisy_mean + c * s.padded, *basic = s.basic_mean + c * s.padded;
      gather_centred(a, a.noisy, n, c, s.padded, s.noisy + c * group, noisy);
      gather_centred(a, a.basic, n, c, s.padded, s.basic + c * group, basic);
      float *noisy_spectrum = s.content + c * s.padded, *basic_spectrum = s.spectra[0];
      transform(p, s, false, noisy, noisy_spectrum, s.spectra[2]);
      transform(p, s, false, basic, basic_spectrum, s.spectra[2]);
      float energy = 0, gain_energy = 1;
      for (int x = 1; x < d; ++x) {
        const float e = std::max(basic_spectrum[x] * basic_spectrum[x] - parameters.mean_bias * inverse_count, 0.f);
        const float gain = e / (e + inverse_count);
        noisy_spectrum[x] *= gain;
        energy += e;
        gain_energy += gain * gain;
      }
      mean_gain_energy[c] = gain_energy * inverse_count;
      s.mean_change[c * s.padded] = basic_spectrum[0];
      content += (sum_of_squares(group, s.basic + c * group) * inverse_count + energy) / d;
    }
    content /= a.channels;
    const float trust = content / (content + parameters.flat);  // of the noisy mean's DC against the basic's
    const float tau = content_tau(parameters.tau, content);
    for (int c = 0; c < a.channels; ++c) {
      float *spectrum = s.content + c * s.padded, *change = s.mean_change + c * s.padded;
      spectrum[0] = change[0] + trust * (spectrum[0] - change[0]);
      transform(p, s, true, spectrum, change, s.spectra[2]);
      for (int x = 0; x < d; ++x) change[x] -= s.noisy_mean[c * s.padded + x];
    }
    for (int first = 0; first < a.channels; first += first == 0 ? 1 : 2) {
      const int last = first == 0 ? 1 : a.channels;
      for (int c = first; c < last; ++c) {
        transpose(K, s.padded, s.basic + c * group, s.padded, s.transposed, K);
        product(K, K, s.padded, s.basic + c * group, s.padded, s.transposed, K, gram, K, c > first);
        product(K, K, s.padded, s.noisy + c * group, s.padded, s.transposed, K, cross, K, c > first);
      }
      for (int i = 0; i < kk; ++i) gram[i] *= inverse_count;
      for (int i = 0; i < kk; ++i) cross[i] *= inverse_count;
      std::copy(gram, gram + kk, work);
      for (int i = 0; i < K; ++i) work[i * K + i] += tau;
      inverse_cholesky_factor(K, work, factor);
      transpose(K, K, factor, K, gains, K);  // L^-T
      product(K, K, K, factor, K, gains, K, u, K);
      for (int i = 0; i < kk; ++i) u[i] *= -tau;
      for (int i = 0; i < K; ++i) u[i * K + i] += 1;  // U = I - t L^-1 L^-T, eigenvalues l / (l + t)
      product(K, K, K, u, K, u, K, w, K);
      for (int i = 0; i < kk; ++i) w[i] = kWienerOrder * (u[i] - w[i]);
      product(K, K, K, w, K, w, K, w2, K);
      product(K, K, K, w2, K, w, K, work, K);
      for (int i = 0; i < kk; ++i) w2[i] += w[i] + work[i];
      for (int i = 0; i < K; ++i) w2[i * K + i] += 1;  // Q = (I + w)(I + w^2)
      for (int i = 0; i < kk; ++i) work[i] = (1 - kWienerRest) * u[i];
      for (int i = 0; i < K; ++i) work[i * K + i] += kWienerRest;  // U + 0.1 H
      product(K, K, K, work, K, w2, K, polynomial, K);             // P
      product(K, K, K, cross, K, gains, K, work, K);
      product(K, K, K, work, K, polynomial, K, cross, K);
      product(K, K, K, u, K, polynomial, K, gains, K);  // R: gains l^2 / (l^2 + t^2)
      const float energy = sum_of_squares(kk, gains);
      float rank = 0;
      for (int i = 0; i < K; ++i) rank += gains[i * K + i];
      if (first == 0) {  // across the patches, from luma alone: G (G + rho I)^-1, rho = effective rank / K
        const float rho = rank * inverse_count + kLeftFloor;
        std::copy(gram, gram + kk, left);
        for (int i = 0; i < K; ++i) left[i * K + i] += rho;
        invert(K, left);
        for (int i = 0; i < kk; ++i) left[i] *= -rho;
        for (int i = 0; i < K; ++i) left[i * K + i] += 1;
      }
      product(K, K, K, left, K, cross, K, work, K);
      product(K, K, K, work, K, factor, K, cross, K);
      for (int c = first; c < last; ++c) {
        float* change = s.noisy + c * group;  // estimate minus noisy, in the noisy patches' place
        product(K, s.padded, K, cross, K, s.basic + c * group, s.padded, s.transposed, s.padded);
        for (int i = 0; i < group; ++i) change[i] = s.transposed[i] - change[i];
        if (c == 0) {
          LeftGains left_gains{0, sum_of_squares(kk, left)};
          for (int i = 0; i < K; ++i) left_gains.sum += left[i * K + i];
          const float noisy = noisy_share(sum_of_squares(group, change), left_gains, rank, energy, content, K, d);
          for (int i = 0; i < group; ++i) change[i] *= 1 - noisy;
        }
        const float weight = 1 / (1 + energy + mean_gain_energy[c]);
        add_changes(a, n, c, s.padded, change, s.mean_change + c * s.padded, weight, locks);
      }
    }
  }
}
