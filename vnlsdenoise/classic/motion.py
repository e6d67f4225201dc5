"""Flow between neighbouring frames of a clip, measured once a pair."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vnlsdenoise import ops

# Planes of the size of a field that measuring one pair allocates at most, both directions together: two workspaces of
# TV-L1 (16 planes and two pyramids each on CUDA), its images twice over, the result, and the new image.
FLOW_PLANES = 44


@dataclass
class FlowPair:
    """Flow between a frame and the one before it: fields [2, 2, h, w], h = ceil(H / scale), in pixels of the field."""

    fields: Tensor
    scale: int

    @property
    def forward(self) -> Tensor:
        """[2, h, w], from the frame before to this one."""
        return self.fields[0]

    @property
    def backward(self) -> Tensor:
        """[2, h, w], from this frame to the one before."""
        return self.fields[1]


class Motion(Protocol):
    """What measures the flow of a clip, frame by frame."""

    def push(self, luma: Tensor) -> FlowPair | None:
        """Flow between the frame before and this one, [H, W]; None for the first frame of a clip."""
        ...

    def reset(self) -> None:
        """The next frame begins a new clip."""
        ...


class CapturedFlow:
    """`ops.tvl1_flow` of pairs of images, launched as one CUDA graph; on the CPU it is just that.

    Its hundred launches a pair are more than a host keeps up with. What they work on (`FLOW_PLANES` planes at most)
    stays on the device while this object lives, once for every size that it has met.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[torch.Size, torch.device], _Graph] = {}

    def __call__(self, sources: Tensor, targets: Tensor) -> Tensor:
        """[N, h, w] each -> [N, 2, h, w], as `ops.tvl1_flow`."""
        if not sources.is_cuda:
            return ops.tvl1_flow(sources, targets)
        key = sources.shape, sources.device
        if key not in self._graphs:
            self._graphs[key] = _Graph(sources, targets)
        return self._graphs[key].run(sources, targets)


class _Graph:
    def __init__(self, sources: Tensor, targets: Tensor) -> None:
        self._sources, self._targets = sources.clone(), targets.clone()
        ops.tvl1_flow(self._sources, self._targets)  # whatever a first call sets up
        self._graph = torch.cuda.CUDAGraph()
        # Other threads of the process may use the device meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._flow = ops.tvl1_flow(self._sources, self._targets)

    def run(self, sources: Tensor, targets: Tensor) -> Tensor:
        self._sources.copy_(sources)
        self._targets.copy_(targets)
        self._graph.replay()
        return self._flow.clone()


class Tvl1Motion:
    """TV-L1 flow at half resolution. scale: takes luma to the 0..255 range that the flow's parameters are meant for.

    flow: measures it: `ops.tvl1_flow`, or a `CapturedFlow`.
    """

    def __init__(self, scale: float, flow: Callable[[Tensor, Tensor], Tensor] = ops.tvl1_flow) -> None:
        self._scale = scale
        self._flow = flow
        self._before: Tensor | None = None

    def push(self, luma: Tensor) -> FlowPair | None:
        """See `Motion`."""
        now = ops.flow_image(luma[None], self._scale)
        before, self._before = self._before, now
        if before is None:
            return None
        return FlowPair(self._flow(torch.cat((before, now)), torch.cat((now, before))), 2)

    def reset(self) -> None:
        """See `Motion`."""
        self._before = None
