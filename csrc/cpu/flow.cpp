// Chains neighbour flows into window centres for every frame of a temporal window.
#include "cpu/chain_flow.h"
#include "window.h"

namespace {

using namespace vnls;

template <typename T>
void run(const FlowChain<T>& a) {
  const int count = a.forward.count;
  torch::stable::parallel_for(0, a.count, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const Point start{a.queries[2 * n], a.queries[2 * n + 1]};
      auto write = [&](int f, Point p) {
        a.centres[(n * count + f) * 2] = p.y;
        a.centres[(n * count + f) * 2 + 1] = p.x;
      };
      write(a.own, start);
      Point p = start;
      for (int f = a.own; f + 1 < count; ++f) {
        p = hop(a.forward.data[f], a.flow_height, a.flow_width, a.scale, p, a.height, a.width);
        write(f + 1, p);
      }
      p = start;
      for (int f = a.own; f > 0; --f) {
        p = hop(a.backward.data[f], a.flow_height, a.flow_width, a.scale, p, a.height, a.width);
        write(f - 1, p);
      }
    }
  });
}

void chain_flow_out(std::vector<Tensor> forward, std::vector<Tensor> backward, const Tensor& queries, int64_t frame,
                    int64_t scale, int64_t height, int64_t width, Tensor centres) {
  check_contiguous(queries, "chain_flow");
  check_contiguous(centres, "chain_flow");
  dispatch_floating(forward[0], "chain_flow", [&](auto zero) {
    using T = decltype(zero);
    run<T>({const_frames<T>(forward, "chain_flow"), const_frames<T>(backward, "chain_flow"),
            static_cast<int>(forward[0].size(1)), static_cast<int>(forward[0].size(2)), static_cast<int>(scale),
            queries.const_data_ptr<int>(), queries.size(0), static_cast<int>(frame), static_cast<int>(height),
            static_cast<int>(width), centres.mutable_data_ptr<int>()});
  });
}

}  // namespace

namespace vnls {

void chain_flow(const FlowChain<float>& chain) { run(chain); }

}  // namespace vnls

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) { m.impl("chain_flow_out", TORCH_BOX(&chain_flow_out)); }
