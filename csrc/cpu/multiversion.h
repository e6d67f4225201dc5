// One binary, several instruction sets: a function so marked is compiled for each and the loader picks the best one
// that the processor has. What it calls must be inlined into it to profit. v3 is AVX2 with FMA; AVX-512 gains nothing.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define VNLS_MULTIVERSION __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define VNLS_MULTIVERSION
#endif
