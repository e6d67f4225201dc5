// A window of frames as kernels see it: one base pointer a frame, in order of time. Free of torch.
#pragma once

namespace vnls {

constexpr int kMaxFrames = 33;

template <typename T>
struct Frames {
  T* data[kMaxFrames];
  int count;
};

}  // namespace vnls
