// Chains neighbour flows into window centres for every frame of a temporal window.
#include "stable.h"
#include "window.h"

namespace {

using namespace vnls;

void chain_flow_out(std::vector<Tensor> forward, std::vector<Tensor> backward, const Tensor& queries, int64_t frame,
                    int64_t scale, int64_t height, int64_t width, Tensor centres) {
  check_contiguous(queries, "chain_flow");
  check_contiguous(centres, "chain_flow");
  const int h = static_cast<int>(height), w = static_cast<int>(width), hop_scale = static_cast<int>(scale);
  const int own = static_cast<int>(frame);
  const int flow_h = static_cast<int>(forward[0].size(1)), flow_w = static_cast<int>(forward[0].size(2));
  const int* query = queries.const_data_ptr<int>();
  int* out = centres.mutable_data_ptr<int>();
  dispatch_floating(forward[0], "chain_flow", [&](auto zero) {
    using T = decltype(zero);
    const auto ahead = const_frames<T>(forward, "chain_flow"), back = const_frames<T>(backward, "chain_flow");
    const int count = ahead.count;
    torch::stable::parallel_for(0, queries.size(0), 1024, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const Point start{query[2 * n], query[2 * n + 1]};
        auto write = [&](int f, Point p) {
          out[(n * count + f) * 2] = p.y;
          out[(n * count + f) * 2 + 1] = p.x;
        };
        write(own, start);
        Point p = start;
        for (int f = own; f + 1 < count; ++f) {
          p = hop(ahead.data[f], flow_h, flow_w, hop_scale, p, h, w);
          write(f + 1, p);
        }
        p = start;
        for (int f = own; f > 0; --f) {
          p = hop(back.data[f], flow_h, flow_w, hop_scale, p, h, w);
          write(f - 1, p);
        }
      }
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vnlsdenoise, CPU, m) { m.impl("chain_flow_out", TORCH_BOX(&chain_flow_out)); }
