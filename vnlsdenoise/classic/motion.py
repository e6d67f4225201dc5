"""Flow between neighbouring frames of a clip, measured once a pair."""

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


class Tvl1Motion:
    """TV-L1 flow at half resolution. scale: takes luma to the 0..255 range that the flow's parameters are meant for."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._before: Tensor | None = None

    def push(self, luma: Tensor) -> FlowPair | None:
        """See `Motion`."""
        now = ops.flow_image(luma[None], self._scale)
        before, self._before = self._before, now
        if before is None:
            return None
        return FlowPair(ops.tvl1_flow(torch.cat((before, now)), torch.cat((now, before))), 2)

    def reset(self) -> None:
        """See `Motion`."""
        self._before = None
