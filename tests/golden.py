"""Vectors recorded from the reference kernels, where this machine has them: their folder is VNLS_GOLDEN, or
shared/golden beside the checkout or its parent."""

import os
import pathlib
from typing import Any

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def golden(name: str) -> Any:
    """The arrays of one recording; skips the test where there is none."""
    folders = [ROOT.parent / "shared" / "golden", ROOT.parent.parent / "shared" / "golden"]
    if "VNLS_GOLDEN" in os.environ:
        folders = [pathlib.Path(os.environ["VNLS_GOLDEN"])]
    for folder in folders:
        if (folder / f"{name}.npz").exists():
            return np.load(folder / f"{name}.npz")
    pytest.skip(f"no recorded vectors {name}: set VNLS_GOLDEN to their folder")
