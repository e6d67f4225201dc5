"""Finds and loads the compiled libraries; the only module that knows their file names."""

import pathlib

import torch

from vnlsdenoise.errors import ExtensionError

_FOLDER = pathlib.Path(__file__).parent


def _load(name: str) -> None:
    path = _FOLDER / f"{name}.abi3.so"
    if not path.exists():
        raise ExtensionError(
            f"the compiled library {path.name} is missing beside {_FOLDER.name}/: "
            "build it with `pip install --no-build-isolation .` (or `make build` in a checkout)"
        )
    try:
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ExtensionError(
            f"the compiled library {path.name} does not load into torch {torch.__version__}: {error}; "
            "rebuild it with `pip install --no-build-isolation --force-reinstall .`"
        ) from error


# _C defines the operators, _C_cuda adds kernels to them: the order matters. A CPU build of torch lacks the symbols
# that _C_cuda needs, and a source build without a CUDA toolkit has no _C_cuda: `has_cuda_kernels` then says so.
_load("_C")
has_cuda_kernels = torch.version.cuda is not None and (_FOLDER / "_C_cuda.abi3.so").exists()
if has_cuda_kernels:
    _load("_C_cuda")
