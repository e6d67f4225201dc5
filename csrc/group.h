// Groups of similar patches: arguments of the two filters and the fixed-point sums they add to. Both backends.
#pragma once

#include <torch/headeronly/macros/Macros.h>

#include <cmath>
#include <cstdint>

#include "frames.h"
#include "window.h"

namespace vnls {

constexpr int kMaxPatch = 16;
constexpr int kMaxNeighbors = 64;
constexpr int kNeighborStep = 16;  // group sizes are multiples of this, the side of a tensor-core tile

struct GroupArgs {
  Frames<const float> noisy, basic;  // each [channels, height, width]; basic is empty in step 1
  Frames<long long> sums;            // each [channels, height, width], see below
  int channels, height, width;
  const int* queries;  // [count, 2] (y, x)
  const int* offsets;  // [count, neighbors, 3] (dt, dy, dx)
  int64_t count;
  int own, patch, neighbors;
  float scale;  // 1 / sigma: filters work in units of the noise
};

struct Place {
  int frame;
  long long start;  // offset of the patch's top left pixel in a plane
};

// Where patch k of group n lies; kept inside the window and the frame, whatever the lists say.
C10_HOST_DEVICE inline Place place_of(const GroupArgs& a, int64_t n, int k) {
  const int* offset = a.offsets + (n * a.neighbors + k) * 3;
  const int y = clamp(a.queries[2 * n] + offset[1], 0, a.height - a.patch);
  const int x = clamp(a.queries[2 * n + 1] + offset[2], 0, a.width - a.patch);
  return {clamp(a.own + offset[0], 0, a.noisy.count - 1), (long long)y * a.width + x};
}

struct ShrinkParameters {
  float mean_threshold;  // of the mean's DCT coefficients, in deviations of the mean's noise
};

struct WienerParameters {
  float tau;        // regularisation of the right filter where there is much content, in sigma^2
  float flat;       // content below which the mean is the basic estimate's, in sigma^2
  float mean_bias;  // noise left in the basic estimate's mean, in sigma^2 / neighbors
};

// --- Fixed-point sums. One 64-bit integer a sample: its low half adds weight * change, where change is the estimate
// minus the noisy sample in units of sigma, its high half adds the weight. Integer sums do not depend on the order of
// addition, so any schedule gives the same result; being relative to the noise they need no knowledge of the data's
// range.
constexpr float kWeightScale = 1024;  // 2^10 steps of weight
constexpr float kChangeScale = 4096;  // 2^12 steps of change * weight
constexpr float kLargestChange = 32;  // in sigma; keeps 16 thousand contributions of full weight within 32 bits

C10_HOST_DEVICE inline int quantise_weight(float weight) {
  const int steps = (int)rintf(weight * kWeightScale);
  return steps < 1 ? 1 : steps;
}

C10_HOST_DEVICE inline long long pack_change(float change, int weight_steps) {
  change = change > -kLargestChange ? change : -kLargestChange;  // NaN becomes the bound
  change = change < kLargestChange ? change : kLargestChange;
  const int steps = (int)rintf(change * (weight_steps * (kChangeScale / kWeightScale)));
  return ((long long)weight_steps << 32) + steps;
}

// The mean change in units of sigma; 0 where nothing was added.
C10_HOST_DEVICE inline float unpack_change(long long sum) {
  const int change = (int)(unsigned int)(sum & 0xffffffffll);
  const long long weight = (sum - change) >> 32;
  return weight > 0 ? (float)change / ((float)weight * (kChangeScale / kWeightScale)) : 0.f;
}

// --- Step 1, gain of an eigenvalue x in units of the noise edge: (1 - a h / delta) S(S(S(S(1 - h)))),
// h = delta / (x + delta), S(v) = v^2 (3 - 2 v): near 0 below the edge, the optimal shrinkage of singular values above.
constexpr float kShrinkDelta = 1.25f;
constexpr int kShrinkSteps = 4;

struct ShrinkConstants {
  float gram_scale;     // 1 / (N edge)
  float slope;          // a / delta
  float content_scale;  // from the trace of the scaled Gram matrix to the group's variance in sigma^2
};

// For a centred neighbors x dimension group: N = max(neighbors - 1, dimension), b = min(..) / N, edge = (1 + sqrt b)^2.
C10_HOST_DEVICE inline ShrinkConstants shrink_constants(int neighbors, int dimension) {
  const float rows = neighbors - 1, columns = dimension;
  const float n = fmaxf(rows, columns), b = fminf(rows, columns) / n;
  const float edge = (1 + sqrtf(b)) * (1 + sqrtf(b));
  return {1 / (n * edge), (1 + b) / edge / kShrinkDelta, n * edge / (rows * columns)};
}

// Where the gain rises, against the edge. Similar patches have less noise than others, whose edge is under the
// formula's; chroma has less to lose. variance: of the centred group, in sigma^2: 1 where there is noise alone.
C10_HOST_DEVICE inline float edge_factor(bool luma, float variance) {
  return luma ? 1.05f - 0.15f / fmaxf(variance, 1.f) : 1.1f;
}

// --- Step 2: order-2 gain l^2 / (l^2 + t^2) of an eigenvalue l as a polynomial in u = l / (l + t), h = 1 - u.
constexpr float kWienerOrder = 1.9f;
constexpr float kWienerRest = 0.1f;
constexpr float kLeftFloor = 1e-3f;  // smallest effective rank / neighbors in the left filter
constexpr float kLostDoubt = .5f;    // content taken for chance before any counts as lost, in its deviations

// The basic estimate of faint content has lost some of it, that of strong content has noise left.
C10_HOST_DEVICE inline float content_tau(float tau, float content) { return tau * (1 - 1 / (content + 2)); }

struct LeftGains {
  float sum, energy;  // of the left filter's gains and of their squares
};

// Share of the noisy patches that goes back into the estimate: Wiener's gain of the content that it has lost, which
// shows as more difference between the two than noise makes. Little of it where the group is flat: what seems lost
// there is chance. difference: sum of squares over all samples of the centred group; rank, energy: sum of the right
// filter's gains and of their squares; content: of the group; all in sigma^2.
C10_HOST_DEVICE inline float noisy_share(float difference, LeftGains left, float rank, float energy, float content,
                                         int neighbors, int dimension) {
  const float samples = (float)neighbors * dimension;
  const float noise = 1 - 1.f / neighbors + (left.energy * energy - 2 * left.sum * rank) / samples;
  const float lost = difference / samples - noise - kLostDoubt * sqrtf(2 / samples);
  return lost > 0 ? lost / (lost + 1) * (content / (content + 1)) : 0.f;
}

}  // namespace vnls
