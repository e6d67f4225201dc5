// The chained flow, for what follows it in one call (flow.cpp).
#pragma once

#include "flow_chain.h"

namespace vnls {

void chain_flow(const FlowChain<float>& chain);

}  // namespace vnls
