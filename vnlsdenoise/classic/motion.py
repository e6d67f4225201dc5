"""Flow between neighbouring frames of a clip, measured once a pair."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vnlsdenoise import ops


@dataclass
class FlowPair:
    """Flow between a frame and the one before it: fields [2, h, w], h = ceil(H / scale), in pixels of the field."""

    forward: Tensor  # from the frame before to this one
    backward: Tensor  # from this one to the frame before
    scale: int


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
        forward, backward = ops.tvl1_flow(torch.cat((before, now)), torch.cat((now, before))).unbind(0)
        return FlowPair(forward, backward, 2)

    def reset(self) -> None:
        """See `Motion`."""
        self._before = None
