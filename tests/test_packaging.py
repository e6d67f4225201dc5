"""What a wheel ships and what its libraries need."""

import pathlib
import re
import subprocess
import sys
import zipfile

import pytest
from vnlsdenoise.weights import WEIGHTS

from vnlsdenoise.page.build import _PARTS

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The wheel of `make cuda-link`, or one built now."""
    built = sorted((ROOT / "build" / "cuda-wheel").glob("*.whl"))
    if built:
        return built[-1]
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def test_one_top_level_package(wheel: pathlib.Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"vnlsdenoise"}
    weights = [f"vnlsdenoise/weights/{each.file}" for each in WEIGHTS.values()]
    for needed in ("vnlsdenoise/_C.abi3.so", "vnlsdenoise/cli/main.py", *weights):
        assert needed in names
    # What a page is made of.
    for part in (*_PARTS, "page.html"):
        assert f"vnlsdenoise/page/{part}" in names
    assert not any(name.startswith("vnlsdenoise/tests") for name in names)
    assert re.search(r"-cp311-abi3-", wheel.name)


def test_libraries_need_only_the_stable_abi(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
        archive.extractall(tmp_path, libraries)
    for name in libraries:
        symbols = subprocess.run(
            ["nm", "-D", "--undefined-only", tmp_path / name], check=True, capture_output=True, text=True
        ).stdout.split()
        torch_symbols = [s for s in symbols if "torch" in s.lower() or s.startswith(("_ZN2at", "_ZN3c10"))]
        assert torch_symbols
        strays = [s for s in torch_symbols if not s.startswith(("torch_", "aoti_torch_"))]
        assert not strays, f"{name} needs {strays}"


def test_nothing_is_importable_beside_the_package(tmp_path: pathlib.Path) -> None:
    code = "import importlib.util as u; print([n for n in ('cli', 'weights', 'csrc') if u.find_spec(n)])"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
    code = "import vnlsdenoise, vnlsdenoise.cli, vnlsdenoise.weights, sys; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "False"


def test_public_names() -> None:
    import vnlsdenoise
    import vnlsdenoise.ops

    assert vnlsdenoise.__all__ == ["NoiseModel", "PlaneNoise", "denoise"]
    assert callable(vnlsdenoise.denoise)
    public = [n for n in vars(vnlsdenoise.ops) if not n.startswith("_") and callable(getattr(vnlsdenoise.ops, n))]
    assert sorted(vnlsdenoise.ops.__all__) == sorted(public)
    assert vnlsdenoise.ops.__all__ == sorted(vnlsdenoise.ops.__all__)
