// The chained flow, for what follows it in one call (flow.cu).
#pragma once

#include <cuda_runtime.h>

#include "flow_chain.h"

namespace vnls {

void chain_flow(const FlowChain<float>& chain, cudaStream_t stream);

}  // namespace vnls
