"""The optimiser: Muon for the convolutions of the trunk, Adam for everything else, and a moving average of both.

Muon (Jordan et al. 2024): the momentum of a weight, flattened to [out, in k k], is replaced by the nearest matrix with
orthonormal rows or columns, found by a few Newton-Schulz steps; here for all weights of one shape at once. torch's own
takes matrices one by one and cannot be captured in a CUDA graph.

The network may be of half precision: the optimiser holds the weights in float32 and copies them over after each step.
"""

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_BETAS = (0.9, 0.99)
_DECAY = 1e-4  # of the weights of convolutions, a step, times the rate
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5
_CLIP = 1.0  # largest norm of all gradients together
_AVERAGE = 0.999  # of the moving average, once it has seen enough


class Optimiser:
    """Steps of all parameters of a network from their gradients, which lie in one row.

    gradients: [n], where the backward pass adds them up; `zero` it before. rate: the learning rate, a scalar on the
    device, so that a captured step takes what it holds at the time.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        named = list(network.named_parameters())
        self.names = [name for name, _ in named]
        self._parameters = [parameter for _, parameter in named]
        dtype = self._parameters[0].dtype
        self.gradients = torch.zeros(sum(p.numel() for p in self._parameters), dtype=dtype, device=device)
        first = 0
        for parameter in self._parameters:
            place = self.gradients[first : first + parameter.numel()]
            parameter.grad = place.as_strided(parameter.shape, parameter.stride(), place.storage_offset())
            first += parameter.numel()
        self.weights = [p.detach().float().clone() for p in self._parameters]
        self.average = [weight.clone() for weight in self.weights]
        self.rate = torch.zeros((), device=device)
        self._steps = torch.zeros((), device=device)
        groups: dict[tuple[int, int], list[int]] = {}
        self._rest: list[int] = []
        for index, (name, parameter) in enumerate(named):
            # Heads and tails are no mappings between like spaces; biases and gains are no matrices.
            if parameter.dim() == 4 and not name.startswith(("heads.", "tails.")):
                groups.setdefault((len(parameter), parameter[0].numel()), []).append(index)
            else:
                self._rest.append(index)
        self._groups = list(groups.values())
        self._momenta = [
            torch.stack([self.weights[index].flatten(1) for index in group]).zero_() for group in self._groups
        ]
        self._first = [torch.zeros_like(self.weights[index]) for index in self._rest]
        self._second = [torch.zeros_like(self.weights[index]) for index in self._rest]

    def reset(self) -> None:
        """Forget all momentum, and the count of steps."""
        for state in (*self._momenta, *self._first, *self._second, self._steps):
            state.zero_()

    def load(self, weights: dict[str, Tensor], average: dict[str, Tensor], steps: int) -> None:
        """Take weights and their moving average after so many steps, by names; momentum is built anew."""
        self._steps.fill_(steps)
        for index, name in enumerate(self.names):
            self.weights[index].copy_(weights[name])
            self.average[index].copy_(average[name])
        self._copy_over()

    @torch.no_grad()
    def step(self) -> None:
        """One step; nothing of it waits for the device."""
        self._steps += 1
        norm = self.gradients.float().norm()
        # A gradient that is not finite must not reach the weights: the step is then one of momentum alone.
        sound = norm.isfinite()
        scale = torch.where(sound, (_CLIP / (norm + 1e-12)).clamp_max(1), 0.0)
        gradients = [torch.where(sound, p.grad.float(), 0.0) * scale for p in self._parameters if p.grad is not None]
        for group, momentum in zip(self._groups, self._momenta, strict=True):
            self._muon(group, momentum, torch.stack([gradients[index].flatten(1) for index in group]))
        self._adam([gradients[index] for index in self._rest])
        share = 1 - torch.clamp((1 + self._steps) / (10 + self._steps), max=_AVERAGE)
        difference = torch._foreach_sub(self.weights, self.average)
        torch._foreach_mul_(difference, share)
        torch._foreach_add_(self.average, difference)
        self._copy_over()

    def _muon(self, group: list[int], momentum: Tensor, gradient: Tensor) -> None:
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        update = orthogonalised(torch.lerp(gradient, momentum, _MOMENTUM))
        update = update * (0.2 * max(update.shape[1:]) ** 0.5 * self.rate)
        for index, change in zip(group, update, strict=True):
            weight = self.weights[index]
            weight.mul_(1 - self.rate * _DECAY)
            weight.sub_(change.view(weight.shape))

    def _adam(self, gradients: list[Tensor]) -> None:
        for moments, beta, values in (
            (self._first, _BETAS[0], gradients),
            (self._second, _BETAS[1], torch._foreach_mul(gradients, gradients)),
        ):
            torch._foreach_lerp_(moments, values, 1 - beta)
        corrected = torch._foreach_div(self._first, 1 - _BETAS[0] ** self._steps)
        deviation = torch._foreach_div(self._second, 1 - _BETAS[1] ** self._steps)
        torch._foreach_sqrt_(deviation)
        torch._foreach_add_(deviation, 1e-8)
        torch._foreach_div_(corrected, deviation)
        torch._foreach_mul_(corrected, self.rate)
        torch._foreach_sub_([self.weights[index] for index in self._rest], corrected)

    @torch.no_grad()
    def _copy_over(self) -> None:
        torch._foreach_copy_(list[Tensor](self._parameters), self.weights)


def orthogonalised(matrices: Tensor) -> Tensor:
    """[N, rows, columns] -> near each the matrix of the same singular vectors with singular values close to 1."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    matrices = x.mT if tall else x
    return matrices.float()
