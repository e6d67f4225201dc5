// Step 2 filter, one block a group, fused: gather, two-sided Wiener filter, aggregation.
//
// The factor W = L^-1 B / sqrt K (L L^T = B B^T / K + tau I) keeps every operand near 1, so that half precision serves;
// the two factorisations stay in float32.
#include "cuda/factorise.cuh"
#include "cuda/group.cuh"
#include "cuda/launch.h"
#include "group_args.h"

namespace {

using namespace vnls;

template <int K>
struct Shared {
  Places places;
  __half* basic;                       // [channels, K, group stride] centred patches, later W for the set at hand
  __half* noisy;                       // [set, K, group stride] centred patches of the set at hand
  float* basic_spectrum;               // [channels, padded] DCT of the means
  float *noisy_mean, *noisy_spectrum;  // [set, padded]; the spectrum ends as the change of the mean
  float *gram, *between;               // [K, K + 4]; [channels, padded] in its place before it is needed
  float *published, *pivots;           // [2, K], [K]
  float* scratch;                      // one a warp
  float* mean_gain;                    // [set] energy of the mean's gains / K
  float *trust, *tau, *content;        // how far the noisy mean's DC is to be trusted, against the basic's; see group.h
  __half *square[2], *left;            // [K, square stride]

  __host__ __device__ Shared(SharedLayout& s, int patch, int channels)
      : places(s, K, patch),
        basic(s.take<__half>(channels * K * group_stride(patch))),
        noisy(s.take<__half>(largest_set(channels) * K * group_stride(patch))),
        basic_spectrum(s.take<float>(channels * padded_pixels(patch))),
        noisy_mean(s.take<float>(largest_set(channels) * padded_pixels(patch))),
        noisy_spectrum(s.take<float>(largest_set(channels) * padded_pixels(patch))),
        gram(s.take<float>(larger(K * (K + 4), channels * padded_pixels(patch)))),
        between(gram),
        published(s.take<float>(2 * K)),
        pivots(s.take<float>(K)),
        scratch(s.take<float>(4)),
        mean_gain(s.take<float>(2)),
        trust(s.take<float>(3)),
        tau(trust + 1),
        content(trust + 2),
        square{s.take<__half>(K * square_stride(K)), s.take<__half>(K * square_stride(K))},
        left(s.take<__half>(K * square_stride(K))) {}
};

// The DCT of the basic means, and what follows from the content of all channels together. energy: this thread's share
// of the squares of the centred basic patches.
template <int K>
__device__ void transform_basic_means(const GroupArgs& a, int patch, const WienerParameters& parameters,
                                      const Shared<K>& s, float energy) {
  const int d = patch * patch, padded = padded_pixels(patch);
  transform<false>(s.places, patch, a.channels, s.basic_spectrum, s.basic_spectrum, s.between);
  float content = energy / K;
#pragma unroll 1
  for (int c = 0; c < a.channels; ++c)
    for (int x = threadIdx.x; x < d; x += blockDim.x) {
      const float basic = s.basic_spectrum[c * padded + x];
      if (x != 0) content += fmaxf(basic * basic - parameters.mean_bias / K, 0.f);
    }
  content = block_sum<K>(content, s.scratch) / (d * a.channels);
  // Kept in shared memory: in a register tau would be spread over every element of the matrix that it is added to.
  if (threadIdx.x == 0) {
    *s.trust = content / (content + parameters.flat);
    *s.tau = content_tau(parameters.tau, content);
    *s.content = content;
  }
}

// Wiener filter of a set's group means in the DCT domain; afterwards noisy_spectrum holds the change of each mean.
template <int K>
__device__ void filter_means(int patch, const WienerParameters& parameters, const Shared<K>& s, int first, int count) {
  const int d = patch * patch, padded = padded_pixels(patch);
  transform<false>(s.places, patch, count, s.noisy_mean, s.noisy_spectrum, s.between);
  const float noise = 1.f / K;
#pragma unroll 1
  for (int c = 0; c < count; ++c) {
    float gain_energy = 0;
    for (int x = threadIdx.x; x < d; x += blockDim.x) {
      const float basic = s.basic_spectrum[(first + c) * padded + x];
      float& coefficient = s.noisy_spectrum[c * padded + x];
      if (x == 0) {
        gain_energy += 1;
        coefficient = basic + *s.trust * (coefficient - basic);
        continue;
      }
      const float signal = fmaxf(basic * basic - parameters.mean_bias * noise, 0.f);
      const float gain = signal / (signal + noise);
      coefficient *= gain;
      gain_energy += gain * gain;
    }
    const float total = block_sum<K>(gain_energy, s.scratch);
    if (threadIdx.x == 0) s.mean_gain[c] = total / K;
  }
  transform<true>(s.places, patch, count, s.noisy_spectrum, s.noisy_spectrum, s.between);
  mean_changes(patch, count, s.noisy_spectrum, s.noisy_mean);
}

// m = scale * left * m, m [K, padded], left [K, K] lower triangular: each warp takes whole columns, so that it may
// write where it has read.
template <int K>
__device__ void multiply_in_place(const __half* left, int left_stride, float scale, __half* m, int stride, int padded,
                                  int lane) {
  for (int x = threadIdx.x / 32 * 16; x < padded; x += K) {
    Fragment right[K / 16];
#pragma unroll
    for (int k = 0; k < K / 16; ++k) load_right(right[k], m, stride, 16 * k, x, lane);
    __syncwarp();
#pragma unroll
    for (int row = 0; row < K / 16; ++row) {
      float out[2][4] = {};
#pragma unroll
      for (int k = 0; k <= row; ++k) {
        Fragment tile;
        load_left(tile, left, left_stride, 16 * row, 16 * k, lane);
        multiply(out[0], tile, right[k][0], right[k][1]);
        multiply(out[1], tile, right[k][2], right[k][3]);
      }
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
        __half* to = m + (16 * row + lane / 4) * stride + x + tile * 8 + lane % 4 * 2;
        *reinterpret_cast<uint32_t*>(to) = pack(out[tile][0] * scale, out[tile][1] * scale);
        *reinterpret_cast<uint32_t*>(to + 8 * stride) = pack(out[tile][2] * scale, out[tile][3] * scale);
      }
    }
  }
}

// noisy -= filter * basic, both [K, stride]; each thread writes only what it alone reads. Returns this thread's share
// of the sum of squares of what is left.
template <int K>
__device__ float subtract_estimate(const LeftSlab<K>& filter, const __half* basic, __half* noisy, int stride,
                                   int padded, int first_row, int lane) {
  float energy = 0;
  for (int x = 0; x < padded; x += 16) {
    float estimate[2][4];
    multiply_columns<K>(estimate, filter, basic, stride, x, lane);
#pragma unroll
    for (int tile = 0; tile < 2; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        __half2* to = reinterpret_cast<__half2*>(noisy + (first_row + lane / 4 + half * 8) * stride + x + tile * 8 +
                                                 lane % 4 * 2);
        float2 left = __half22float2(*to);
        left.x -= estimate[tile][half * 2], left.y -= estimate[tile][half * 2 + 1];
        energy = fmaf(left.x, left.x, fmaf(left.y, left.y, energy));
        *to = __floats2half2_rn(left.x, left.y);
      }
  }
  return energy;
}

// kPatch: side of a patch, 0 where it is not known before.
template <int K, int kPatch>
__global__ void __launch_bounds__(2 * K, K == 32 ? 8 : 1)
    wiener_kernel(const __grid_constant__ GroupArgs a, const __grid_constant__ WienerParameters parameters) {
  extern __shared__ __align__(16) unsigned char memory[];
  SharedLayout layout{memory};
  const int p = kPatch ? kPatch : a.patch, padded = padded_pixels(p), stride = group_stride(p);
  const Shared<K> s(layout, p, a.channels);
  constexpr int kStride = square_stride(K), kGram = K + 4;
  const int lane = threadIdx.x % 32, first_row = threadIdx.x / 32 * 16;
  s.places.fill(a, blockIdx.x, K, p);
  __syncthreads();
  float energy = 0;
#pragma unroll 1
  for (int c = 0; c < a.channels; ++c)
    energy +=
        gather_centred<K>(a, p, s.places.basic, s.places, c, s.basic + c * K * stride, s.basic_spectrum + c * padded);
  __syncthreads();
  transform_basic_means<K>(a, p, parameters, s, energy);

  for (int first = 0; first < a.channels; first += first == 0 ? 1 : 2) {
    const int count = first == 0 ? 1 : a.channels - 1;
    __half* noisy = s.noisy;
    __half* basic = s.basic + first * K * stride;
#pragma unroll 1
    for (int c = 0; c < count; ++c)
      gather_centred<K>(a, p, s.places.noisy, s.places, first + c, s.noisy + c * K * stride, s.noisy_mean + c * padded);
    __syncthreads();
    filter_means<K>(p, parameters, s, first, count);
    Slab<K> u, work;
    work.clear();
#pragma unroll 1
    for (int c = 0; c < count; ++c)
      add_outer<K>(work, basic + c * K * stride, basic + c * K * stride, stride, padded, first_row, lane);
    work.for_each(first_row, lane, [&](float& v, int row, int column) { s.gram[row * kGram + column] = v / K; });
    __syncthreads();
    {
      float column[K];
      invert_factor_columns<K>(s.gram, kGram, *s.tau, s.published, s.pivots, column);
      if (threadIdx.x >= K) {
#pragma unroll
        for (int i = 0; i < K; ++i) s.square[0][i * kStride + threadIdx.x - K] = __float2half_rn(column[i]);
      }
    }
    __syncthreads();
    // W = L^-1 B / sqrt K, into the place of B.
#pragma unroll 1
    for (int c = 0; c < count; ++c)
      multiply_in_place<K>(s.square[0], kStride, rsqrtf(K), basic + c * K * stride, stride, padded, lane);
    __syncthreads();
    // U = W W^T, eigenvalues l / (l + tau); cross = Y W^T.
    Slab<K> cross;
    u.clear();
    cross.clear();
#pragma unroll 1
    for (int c = 0; c < count; ++c) {
      const __half* white = basic + c * K * stride;
      add_outer<K>(u, white, white, stride, padded, first_row, lane);
      add_outer<K>(cross, noisy + c * K * stride, white, stride, padded, first_row, lane);
    }
    const LeftSlab<K> left_u(u);
    work = u;
    work.for_each(first_row, lane, [](float& v, int row, int column) { v = (row == column ? 1.f : 0.f) - v; });
    work.store(s.square[0], kStride, first_row, lane);  // H = I - U
    __syncthreads();
    Slab<K> w;
    multiply_symmetric<K>(w, left_u, s.square[0], kStride, lane);
    w.for_each(first_row, lane, [](float& v, int, int) { v *= kWienerOrder; });
    w.store(s.square[1], kStride, first_row, lane);
    __syncthreads();
    // Q = (I + w)(I + w^2), into the place of H.
    {
      Slab<K> square;
      multiply_symmetric<K>(square, LeftSlab<K>(w), s.square[1], kStride, lane);
      multiply_symmetric<K>(work, LeftSlab<K>(square), s.square[1], kStride, lane);
#pragma unroll
      for (int j = 0; j < K / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) work.value[j][i] += w.value[j][i] + square.value[j][i];
      work.for_each(first_row, lane, [](float& v, int row, int column) { v += row == column ? 1.f : 0.f; });
      work.store(s.square[0], kStride, first_row, lane);
    }
    __syncthreads();
    // P = (U + 0.1 H) Q, into the place of w.
    u.for_each(first_row, lane,
               [](float& v, int row, int column) { v = (1 - kWienerRest) * v + (row == column ? kWienerRest : 0.f); });
    multiply_symmetric<K>(work, LeftSlab<K>(u), s.square[0], kStride, lane);
    work.store(s.square[1], kStride, first_row, lane);
    __syncthreads();
    // R = U P: gains l^2 / (l^2 + tau^2). cross P, into the place of Q.
    multiply_symmetric<K>(work, left_u, s.square[1], kStride, lane);
    float gains = 0, rank = 0;
    work.for_each(first_row, lane, [&](float& v, int row, int column) {
      gains = fmaf(v, v, gains);
      rank += row == column ? v : 0.f;
    });
    multiply_symmetric<K>(work, LeftSlab<K>(cross), s.square[1], kStride, lane);
    work.store(s.square[0], kStride, first_row, lane);
    gains = block_sum<K>(gains, s.scratch);
    LeftGains left{};
    if (first == 0) {  // across the patches, from luma alone: G (G + rho I)^-1, rho = effective rank / K
      rank = block_sum<K>(rank, s.scratch);
      const float rho = rank / K + kLeftFloor;
      float column[K / 2];
      invert_columns<K>(s.gram, kGram, rho, s.published, column);
      const HalfColumn<K> at;
      __half* row = s.left + at.column * kStride + at.first;
#pragma unroll
      for (int i = 0; i < K / 2; i += 8) {
        float gain[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const bool diagonal = at.first + i + j == at.column;
          gain[j] = (diagonal ? 1.f : 0.f) - rho * column[i + j];
          left.sum += diagonal ? gain[j] : 0.f;
          left.energy = fmaf(gain[j], gain[j], left.energy);
        }
        *reinterpret_cast<uint4*>(row + i) = pack_eight(gain);
      }
      // Added up in the order of columns. The Gram matrix is not needed any more.
      LeftGains* parts = reinterpret_cast<LeftGains*>(s.gram);
      parts[at.half * K + at.column] = left;
      __syncthreads();
      left = parts[threadIdx.x];
      left = {block_sum<K>(left.sum, s.scratch), block_sum<K>(left.energy, s.scratch)};
    }
    multiply_matrix<K, false>(work, LeftSlab<K>(s.left, kStride, first_row, lane), s.square[0], kStride, lane);
    const LeftSlab<K> filter(work);
    float kept = 1;  // of the change
    if (first == 0) {
      const float difference = subtract_estimate<K>(filter, basic, noisy, stride, padded, first_row, lane);
      const float total = block_sum<K>(difference, s.scratch);
      kept -= noisy_share(total, left, rank, gains, *s.content, K, p * p);
    }
#pragma unroll 1
    for (int c = 0; c < count; ++c) {
      const float* mean_change = s.noisy_spectrum + c * padded;
      const int weight = quantise_weight(1 / (1 + gains + s.mean_gain[c]));
      const __half* row = noisy + c * K * stride + (first_row + lane / 4) * stride + lane % 4 * 2;
      const LaneSums sums(a, s.places, first + c, first_row, lane);
      for (int x = 0; x < padded; x += 16) {
        float change[2][4] = {};
        if (first != 0) multiply_columns<K>(change, filter, basic + c * K * stride, stride, x, lane);
#pragma unroll
        for (int tile = 0; tile < 2; ++tile)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            change[tile][i] += mean_change[x + tile * 8 + lane % 4 * 2 + i % 2] -
                               kept * __half2float(row[i / 2 * 8 * stride + x + tile * 8 + i % 2]);
        add_changes(sums, s.places, p, x, change, weight, lane);
      }
    }
    __syncthreads();  // the next set reuses the shared memory
  }
}

template <int K, int kPatch>
void launch_wiener(const GroupArgs& a, const WienerParameters& parameters, cudaStream_t stream) {
  launch_groups<K, Shared<K>>(wiener_kernel<K, kPatch>, a, parameters, stream);
}

// The patches of the presets are compiled for their size.
void launch_presets(const GroupArgs& a, const WienerParameters& parameters, cudaStream_t stream) {
  switch (a.patch) {
    case 5:
      return launch_wiener<32, 5>(a, parameters, stream);
    case 7:
      return launch_wiener<32, 7>(a, parameters, stream);
    case 8:
      return launch_wiener<32, 8>(a, parameters, stream);
    case 12:
      return launch_wiener<32, 12>(a, parameters, stream);
    default:
      return launch_wiener<32, 0>(a, parameters, stream);
  }
}

void wiener_groups_(std::vector<Tensor> noisy, std::vector<Tensor> basic, const Tensor& queries, const Tensor& offsets,
                    int64_t frame, int64_t patch, double sigma, double tau, double flat, double mean_bias,
                    std::vector<Tensor> sums) {
  const GroupArgs a = group_args(noisy, basic, queries, offsets, frame, patch, sigma, sums, "wiener_groups");
  const WienerParameters parameters{static_cast<float>(tau), static_cast<float>(flat), static_cast<float>(mean_bias)};
  if (a.count == 0) return;
  launch_on(queries, [&](cudaStream_t stream) {
    switch (a.neighbors) {
      case 16:
        return launch_wiener<16, 0>(a, parameters, stream);
      case 32:
        return launch_presets(a, parameters, stream);
      case 48:
        return launch_wiener<48, 0>(a, parameters, stream);
      default:
        return launch_wiener<64, 0>(a, parameters, stream);
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CUDA, m) { m.impl("wiener_groups_", TORCH_BOX(&wiener_groups_)); }
