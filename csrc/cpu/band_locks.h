// Locks of bands of rows of the sums, so that threads adding to neighbouring rows take turns.
#pragma once

#include <atomic>
#include <vector>

#include "group.h"

namespace vnls {

struct BandLocks {
  static constexpr int kRows = 16;
  explicit BandLocks(const GroupArgs& a) : bands((a.height + kRows - 1) / kRows), flags(bands * a.sums.count) {}
  int bands;
  std::vector<std::atomic_flag> flags;  // [frame, band]
};

}  // namespace vnls
