"""How an operator is registered: custom op, fake from its allocation, and a refusal of gradients where it has none."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

import vnlsdenoise._library  # noqa: F401  (defines torch.ops.vnlsdenoise.*)


def operator(name: str, fake: Callable[..., Any], mutates: Iterable[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """Register a function as `torch.ops.vnlsdenoise.<name>`, without a gradient.

    `fake` allocates the outputs from the same arguments: the one place that knows their shapes. Arguments named in
    `mutates` are changed in place. Backward through the operator raises.

    Where nothing can want to know of the operator (no gradients, no tracing) the function is called as it is: the way
    through torch's dispatcher and back into Python takes the host longer than a small kernel takes a GPU.
    """

    def register(function: Callable[..., Any]) -> Any:
        custom = torch.library.custom_op(f"vnlsdenoise::{name}", function, mutates_args=tuple(mutates))
        custom.register_fake(fake)
        if not tuple(mutates):
            custom.register_autograd(_no_gradient(name))

        def call(*arguments: Any) -> Any:
            return function(*arguments) if unwatched() else custom(*arguments)

        call.register_autograd = custom.register_autograd  # type: ignore[attr-defined]
        return call

    return register


def unwatched() -> bool:
    """Whether nothing can want to know of what is called: no gradients, no tracing."""
    return not (torch.is_grad_enabled() or torch._C._len_torch_dispatch_stack() or torch.compiler.is_compiling())


def _no_gradient(name: str) -> Callable[..., Any]:
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(f"vnlsdenoise.ops.{name} has no gradient: call it under torch.no_grad()")

    return backward
