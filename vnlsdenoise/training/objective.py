"""What a step minimises, and how it is computed: at once on the CPU, as a replayed graph on CUDA."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vnlsdenoise.learned.network import Network
from vnlsdenoise.training.pool import Batch

_FLOOR = 1e-3  # of the mean square error, in units of the noise: no clip counts for being all but perfect
_WEIGHT = 0.05
_LITTLE = 1e-3  # energy of a plane, without which a limit on nothing has none
_WARM_UPS = 3  # calls before a graph is captured


def squared_error(corrections: list[Tensor], batch: Batch) -> Tensor:
    """The mean square error of every clip after these corrections, [clips], in units of the noise.

    Corrections are limited as the denoiser limits them (`passes.limited`), in every frame of a crop.
    """
    clips, total, first = batch.fields.shape[1], torch.zeros((), device=batch.fields.device), 0
    for correction, removed, error in zip(corrections, batch.frames.removed, batch.error, strict=True):
        of_size = slice(first, first + error.shape[1])
        first = of_size.stop
        by_clip = correction.view(-1, clips, *error.shape[1:])  # [T, clips, planes, h, w]
        most = batch.most[:, of_size]
        # Infinity has no gradient: where there is no limit, another one stands for it, and is not taken.
        largest = most.nan_to_num(posinf=1.0) ** 2 * _energy(removed.view_as(by_clip))
        share = ((largest + _LITTLE) / (_energy(by_clip) + _LITTLE)).clamp_max(1).sqrt()
        share = torch.where(most.isinf(), 1.0, share)
        squares = (share[..., None, None] * by_clip + error.view_as(by_clip)).square().sum((0, 3, 4))  # [clips, planes]
        total = total + (squares * batch.weight[:, of_size]).sum(1)
    return total / (sum(error.numel() for error in batch.error) / clips)


def _energy(planes: Tensor) -> Tensor:
    return planes.square().sum((-2, -1))


def decibels(squared: Tensor) -> Tensor:
    """Mean of the logarithm of mean square errors, in dB: what PSNR measures, sign and peak aside."""
    return 10 * (squared + _FLOOR).log10()


class Objective:
    """The loss of a step and its gradients.

    The loss is the mean PSNR of the clips: each counts the same, at whatever noise and however hard. Calling it leaves
    the gradients where the parameters have them, and the mean gain over the classic result, in dB, in `gain`.
    """

    def __init__(self, network: Network, zero: Callable[[], object]) -> None:
        self._network = network
        self._zero = zero
        self._inputs: list[Batch] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self.gain = torch.zeros((), device=next(network.parameters()).device)

    def __call__(self, batches: Sequence[Batch]) -> None:
        """One forward and one backward pass."""
        if not batches[0].fields.is_cuda:
            self._inputs = list(batches)
            self._compute()
            return
        if self._graph is None:
            self._inputs = list(batches)
            self._graph = captured(self._compute)
        for mine, given in zip(self._inputs, batches, strict=True):
            for to, source in zip(_tensors(mine), _tensors(given), strict=True):
                to.copy_(source)
        self._graph.replay()

    def _compute(self) -> None:
        self._zero()
        batches = self._inputs
        corrections = self._network([b.frames for b in batches], torch.cat([b.fields for b in batches], 1))
        after = torch.cat([squared_error(c, b) for c, b in zip(corrections, batches, strict=True)])
        loss = decibels(after).mean()
        (loss * _WEIGHT).backward()  # type: ignore[no-untyped-call]
        before = torch.cat([squared_error([torch.zeros_like(e) for e in b.error], b) for b in batches])
        self.gain.copy_(decibels(before).mean() - loss.detach())


def captured(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of what `work` launches, after a few calls in which everything is set up."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def _tensors(batch: Batch) -> list[Tensor]:
    frames = batch.frames
    known = frames.scale, frames.traits, batch.weight, batch.most
    return [*frames.classic, *frames.removed, *batch.error, batch.fields, *known]
