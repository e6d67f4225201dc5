// One kernel text, compiled for three instruction sets: each kernel header is included once under each of these
// targets, inside a namespace of that name, and chosen when it is called. The file that includes them reads:
//
//   #define VNLS_KERNEL "cpu/search_kernel.h"
//   #include "cpu/isa_variants.h"
//
// after which avx512::f, avx2::f and baseline::f exist for every f of the kernel header.
#pragma once

namespace vnls {

enum class Isa { kBaseline, kAvx2, kAvx512 };

inline Isa best_isa() {
  static const Isa best = [] {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      return Isa::kAvx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::kAvx2;
#endif
    return Isa::kBaseline;
  }();
  return best;
}

}  // namespace vnls
