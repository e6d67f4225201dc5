// See isa.h. No include guard: included once by each kernel's file, which defines VNLS_KERNEL first.
#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
namespace vnls::avx512 {
constexpr int kVectorBytes = 64;
#include VNLS_KERNEL
}  // namespace vnls::avx512
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace vnls::avx2 {
constexpr int kVectorBytes = 32;
#include VNLS_KERNEL
}  // namespace vnls::avx2
#pragma GCC pop_options
#endif
namespace vnls::baseline {
constexpr int kVectorBytes = 16;
#include VNLS_KERNEL
}  // namespace vnls::baseline

#if defined(__x86_64__)
#define VNLS_DISPATCH_ISA(call) \
  switch (best_isa()) {         \
    case Isa::kAvx512:          \
      avx512::call;             \
      break;                    \
    case Isa::kAvx2:            \
      avx2::call;               \
      break;                    \
    case Isa::kBaseline:        \
      baseline::call;           \
      break;                    \
  }
#else
#define VNLS_DISPATCH_ISA(call) baseline::call
#endif
