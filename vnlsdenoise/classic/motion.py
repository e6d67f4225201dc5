"""Flow between neighbouring frames of a clip, measured once a pair."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vnlsdenoise import ops
from vnlsdenoise.classic.presets import DEFAULT_FLOW, Flow

# Planes of the size of a field that measuring one pair allocates at most, both directions together: two workspaces of
# TV-L1 (16 planes and two pyramids each on CUDA), its images twice over, the result, and the new image.
FLOW_PLANES = 44
# Of the same size: what `CapturedFlow` takes and gives, both images and both fields of either direction.
FLOW_PAIR_PLANES = 8
# And what is allocated beside it for every pair: those, and the image of the new frame with what it is made of.
CAPTURED_PLANES = 16
_CAPTURING = threading.Lock()
# Of half the frame's size: luma that is halved once more before, and what that takes.
_HALVED_LUMA = 3


def half_planes(planes: int, field: Flow) -> int:
    """Planes of half the frame's size in which there is room for so many of the size of a field, and for what comes
    before it."""
    return planes if field.scale == 2 else -(-planes // 4) + _HALVED_LUMA


@dataclass
class FlowPair:
    """Flow between a frame and the one before it: fields [2, 2, h, w], h = ceil(H / scale), in pixels of the field.

    ready: what tells that another stream has measured it; None where there is none to wait for.
    """

    fields: Tensor
    scale: int
    ready: torch.cuda.Event | None = None

    @property
    def forward(self) -> Tensor:
        """[2, h, w], from the frame before to this one."""
        return self.fields[0]

    @property
    def backward(self) -> Tensor:
        """[2, h, w], from this frame to the one before."""
        return self.fields[1]

    def wait(self) -> None:
        """Let what is launched from here on see the fields."""
        if self.ready is not None:
            torch.cuda.current_stream(self.fields.device).wait_event(self.ready)
            self.ready = None


class Motion(Protocol):
    """What measures the flow of a clip, frame by frame. planes: of half the frame's size, `push` allocates at most."""

    planes: int

    def push(self, luma: Tensor) -> FlowPair | None:
        """Flow between the frame before and this one, [H, W]; None for the first frame of a clip. Where it raises, the
        frame has not come.

        It may be measured beside what is launched until the caller waits for it.
        """
        ...

    def reset(self) -> None:
        """The next frame begins a new clip."""
        ...


class CapturedFlow:
    """`ops.tvl1_flow` of pairs of images, as one CUDA graph in a stream of its own; on the CPU it is just that.

    lanes: pairs of one size that may be measured at once, each in a stream of its own. options: of `ops.tvl1_flow`.

    Its hundreds of small launches are more than a host keeps up with, and they leave most of a GPU to other work. What
    they work on (`FLOW_PLANES` planes at most) stays on the device while this object lives, once for every lane of
    every size that it has met.
    """

    def __init__(self, lanes: int = 1, **options: int) -> None:
        self._lanes = lanes
        self._options = options
        # Of every size, that which was used last comes last.
        self._graphs: dict[tuple[torch.Size, torch.device], deque[_Graph]] = {}

    def __call__(self, sources: Tensor, targets: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """[N, h, w] each -> [N, 2, h, w], as `ops.tvl1_flow`, and what tells that it has been measured."""
        if not sources.is_cuda:
            return ops.tvl1_flow(sources, targets, **self._options), None
        key = sources.shape, sources.device
        graphs = self._graphs.setdefault(key, deque())
        if len(graphs) < self._lanes:
            graphs.append(_Graph(sources, targets, self._options))
        else:
            graphs.rotate(-1)
        return graphs[-1].run(sources, targets)


class _Graph:
    def __init__(self, sources: Tensor, targets: Tensor, options: dict[str, int]) -> None:
        self._sources, self._targets = sources.clone(), targets.clone()
        ops.tvl1_flow(self._sources, self._targets, **options)  # whatever a first call sets up
        self._graph = torch.cuda.CUDAGraph()
        # Its small launches go before the blocks of other kernels that still wait. Behind them they would have to wait
        # until a kernel has no more.
        self._stream = torch.cuda.Stream(sources.device, priority=-1)  # type: ignore[no-untyped-call]
        # What is captured is the work of the current device. Other threads of the process may use it meanwhile, but may
        # not wait for all that it does; a capture begins with that, so there is one at a time.
        with (
            _CAPTURING,
            torch.cuda.device(sources.device),
            torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            self._flow = ops.tvl1_flow(self._sources, self._targets, **options)

    def run(self, sources: Tensor, targets: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        flow = torch.empty_like(self._flow)
        for tensor in (sources, targets, flow):
            tensor.record_stream(self._stream)
        self._stream.wait_stream(torch.cuda.current_stream(sources.device))
        with torch.cuda.stream(self._stream):
            self._sources.copy_(sources)
            self._targets.copy_(targets)
            self._graph.replay()
            flow.copy_(self._flow)
            measured = torch.cuda.Event()  # type: ignore[no-untyped-call]
            measured.record()
        return flow, measured


class Tvl1Motion:
    """TV-L1 flow. scale: takes luma to the 0..255 range that the flow's parameters are meant for.

    captured: what measures it beside other work; without it, `push` does. field: how it is measured; `captured` has its
    options already.
    """

    def __init__(self, scale: float, captured: CapturedFlow | None = None, field: Flow = DEFAULT_FLOW) -> None:
        self._scale = scale
        self._captured = captured
        self._field = field
        self._before: Tensor | None = None
        self.planes = half_planes(FLOW_PLANES if captured is None else CAPTURED_PLANES, field)

    def push(self, luma: Tensor) -> FlowPair | None:
        """See `Motion`."""
        image = luma[None]
        if self._field.scale == 4:
            image = ops.pyramid_down(image)
        now = ops.flow_image(image, self._scale)
        pair = None if self._before is None else self._pair(self._before, now)
        self._before = now
        return pair

    def _pair(self, before: Tensor, now: Tensor) -> FlowPair:
        images = torch.cat((before, now)), torch.cat((now, before))
        if self._captured is None:
            fields = ops.tvl1_flow(*images, coarse_warps=self._field.coarse_warps)
            return FlowPair(fields, self._field.scale)
        fields, ready = self._captured(*images)
        return FlowPair(fields, self._field.scale, ready)

    def reset(self) -> None:
        """See `Motion`."""
        self._before = None
