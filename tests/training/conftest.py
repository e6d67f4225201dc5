"""What training's tests share."""

from pathlib import Path

import imageio.v3 as imageio
import pytest
import skimage.data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Footage: four photographs."""
    path = tmp_path / "footage"
    path.mkdir()
    for name in ("coffee", "astronaut", "chelsea", "rocket"):
        imageio.imwrite(path / f"{name}.png", getattr(skimage.data, name)()[:300, :400])
    return path
