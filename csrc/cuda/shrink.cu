// Step 1 filter, one block a group, fused: gather, Gram matrix, singular value shrinkage, aggregation.
#include "cuda/factorise.cuh"
#include "cuda/group.cuh"
#include "cuda/launch.h"
#include "group_args.h"

namespace {

using namespace vnls;

template <int K>
struct Shared {
  Places places;
  __half* rows;                      // [set, K, group stride] centred patches of the set at hand
  float *mean, *spectrum, *between;  // [set, padded]; spectrum ends as the change of the mean
  float* published;                  // [2, K]
  __half* inverse;                   // [K, square stride]
  unsigned char* square;             // the two that follow, the second after the first
  float* gram;                       // [K, K + 4]
  __half* gain;                      // [2, K, square stride]

  __host__ __device__ Shared(SharedLayout& s, int patch, int channels)
      : places(s, K, patch),
        rows(s.take<__half>(largest_set(channels) * K * group_stride(patch))),
        mean(s.take<float>(largest_set(channels) * padded_pixels(patch))),
        spectrum(s.take<float>(largest_set(channels) * padded_pixels(patch))),
        between(s.take<float>(largest_set(channels) * padded_pixels(patch))),
        published(s.take<float>(2 * K)),
        inverse(s.take<__half>(K * square_stride(K))),
        square(s.take<unsigned char>(larger(4 * K * (K + 4), 2 * 2 * K * square_stride(K)))),
        gram(reinterpret_cast<float*>(square)),
        gain(reinterpret_cast<__half*>(square)) {}
};

// The change of the group means, into `spectrum`, by a hard threshold of their DCT, DC kept.
template <int K>
__device__ void threshold_means(const Shared<K>& s, int p, int count, float threshold) {
  const int padded = padded_pixels(p), d = p * p;
  transform<false>(s.places, p, count, s.mean, s.spectrum, s.between);
#pragma unroll 1
  for (int c = 0; c < count; ++c)
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
      float& coefficient = s.spectrum[c * padded + i];
      if (i != 0 && fabsf(coefficient) <= threshold) coefficient = 0;
    }
  __syncthreads();
  transform<true>(s.places, p, count, s.spectrum, s.spectrum, s.between);
  mean_changes(p, count, s.spectrum, s.mean);
}

// Of a multiprocessor: as many as shared memory allows for the patches of the presets.
constexpr int blocks_wanted(int K) { return K == 64 ? 4 : K == 48 ? 6 : 14; }

// kPatch: side of a patch, 0 where it is not known before.
template <int K, int kPatch>
__global__ void __launch_bounds__(2 * K, blocks_wanted(K))
    shrink_kernel(const __grid_constant__ GroupArgs a, const __grid_constant__ ShrinkParameters parameters) {
  extern __shared__ __align__(16) unsigned char memory[];
  SharedLayout layout{memory};
  const int p = kPatch ? kPatch : a.patch, d = p * p, padded = padded_pixels(p), stride = group_stride(p);
  const Shared<K> s(layout, p, a.channels);
  constexpr int kStride = square_stride(K), kGram = K + 4;
  const int lane = threadIdx.x % 32, first_row = threadIdx.x / 32 * 16;
  s.places.fill(a, blockIdx.x, K, p);
  __syncthreads();
  for (int first = 0; first < a.channels; first += first == 0 ? 1 : 2) {
    const int count = first == 0 ? 1 : a.channels - 1;
#pragma unroll 1
    for (int c = 0; c < count; ++c)
      gather_centred<K>(a, p, s.places.noisy, s.places, first + c, s.rows + c * K * stride, s.mean + c * padded);
    __syncthreads();
    Slab<K> slab;
    slab.clear();
#pragma unroll 1
    for (int c = 0; c < count; ++c)
      add_outer<K>(slab, s.rows + c * K * stride, s.rows + c * K * stride, stride, padded, first_row, lane);
    const ShrinkConstants constants = shrink_constants(K, count * d);
    slab.for_each(first_row, lane,
                  [&](float& v, int row, int column) { s.gram[row * kGram + column] = v * constants.gram_scale; });
    threshold_means<K>(s, p, count, parameters.mean_threshold * rsqrtf(K));

    float trace = 0;  // every thread the same, in the same order
#pragma unroll
    for (int k = 0; k < K; ++k) trace += s.gram[k * kGram + k];
    const float delta = kShrinkDelta * edge_factor(first == 0, trace * constants.content_scale);
    float column[K / 2];
    invert_columns<K>(s.gram, kGram, delta, s.published, column);
    {
      const HalfColumn<K> at;
      __half* inverse = s.inverse + at.column * kStride + at.first;  // symmetric: a column is stored as a row
      __half* gain = s.gain + at.column * kStride + at.first;
#pragma unroll
      for (int i = 0; i < K / 2; i += 8) {
        float h[8], rest[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          h[j] = delta * column[i + j];
          rest[j] = (at.first + i + j == at.column ? 1.f : 0.f) - h[j];
        }
        *reinterpret_cast<uint4*>(inverse + i) = pack_eight(h);
        *reinterpret_cast<uint4*>(gain + i) = pack_eight(rest);
      }
    }
    __syncthreads();
    // Four steps v <- 3 v^2 - 2 v^3; every warp keeps its slab of v, all read the whole of it.
    LeftSlab<K> gain(s.gain, kStride, first_row, lane);
    Slab<K> cube;
#pragma unroll 1
    for (int step = 0; step < kShrinkSteps; ++step) {
      const __half* whole = s.gain + step % 2 * K * kStride;
      multiply_symmetric<K>(slab, gain, whole, kStride, lane);
      multiply_symmetric<K>(cube, LeftSlab<K>(slab), whole, kStride, lane);
#pragma unroll
      for (int j = 0; j < K / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) slab.value[j][i] = 3 * slab.value[j][i] - 2 * cube.value[j][i];
      gain = LeftSlab<K>(slab);
      slab.store(s.gain + (step + 1) % 2 * K * kStride, kStride, first_row, lane);
      __syncthreads();
    }
    // What is taken away: -(I - v + slope v h).
    multiply_symmetric<K>(cube, gain, s.inverse, kStride, lane);
#pragma unroll
    for (int j = 0; j < K / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) slab.value[j][i] -= constants.slope * cube.value[j][i];
    slab.for_each(first_row, lane, [](float& v, int row, int column) { v -= row == column ? 1.f : 0.f; });
    const LeftSlab<K> taken(slab);
#pragma unroll 1
    for (int c = 0; c < count; ++c) {
      const float* mean_change = s.spectrum + c * padded;
      const LaneSums sums(a, s.places, first + c, first_row, lane);
      for (int x = 0; x < padded; x += 16) {
        float change[2][4];
        multiply_columns<K>(change, taken, s.rows + c * K * stride, stride, x, lane);
#pragma unroll
        for (int tile = 0; tile < 2; ++tile)
#pragma unroll
          for (int i = 0; i < 4; ++i) change[tile][i] += mean_change[x + tile * 8 + lane % 4 * 2 + i % 2];
        add_changes(sums, s.places, p, x, change, quantise_weight(1.f), lane);
      }
    }
    __syncthreads();  // the next set reuses the shared memory
  }
}

// The patches of the presets; any other as well.
template <int K, int kPatch>
void launch_shrink(const GroupArgs& a, const ShrinkParameters& parameters, cudaStream_t stream) {
  const auto kernel = a.patch == kPatch ? shrink_kernel<K, kPatch> : shrink_kernel<K, 0>;
  launch_groups<K, Shared<K>>(kernel, a, parameters, stream);
}

void shrink_groups_(std::vector<Tensor> noisy, const Tensor& queries, const Tensor& offsets, int64_t frame,
                    int64_t patch, double sigma, double mean_threshold, std::vector<Tensor> sums) {
  const GroupArgs a = group_args(noisy, {}, queries, offsets, frame, patch, sigma, sums, "shrink_groups");
  const ShrinkParameters parameters{static_cast<float>(mean_threshold)};
  if (a.count == 0) return;
  launch_on(queries, [&](cudaStream_t stream) {
    switch (a.neighbors) {
      case 16:
        return launch_shrink<16, 8>(a, parameters, stream);
      case 32:
        return launch_shrink<32, 8>(a, parameters, stream);
      case 48:
        return launch_shrink<48, 10>(a, parameters, stream);
      default:
        return launch_shrink<64, 10>(a, parameters, stream);
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("shrink_groups_", TORCH_BOX(&shrink_groups_)); }
