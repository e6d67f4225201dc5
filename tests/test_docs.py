"""The programs of the documentation run as they stand."""

import pathlib

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent


def program(path: pathlib.Path, start: str) -> str:
    """The indented block of a page that contains `start`, unindented."""
    blocks = [[]]
    for line in path.read_text().splitlines():
        if line.startswith("    ") or (not line and blocks[-1]):
            blocks[-1].append(line[4:])
        elif blocks[-1]:
            blocks.append([])
    found = ["\n".join(block) for block in blocks if any(start in line for line in block)]
    assert len(found) == 1, f"{path.name} has {len(found)} blocks with {start!r}"
    return found[0]


def test_coming_from_stnls():
    names: dict[str, torch.Tensor] = {}
    exec(program(ROOT / "docs" / "coming-from-stnls.md", "search = nn.NonLocalSearch"), names)
    assert names["out"].shape == (1, 5, 16, 128, 128)
    assert bool(names["out"].isfinite().all())


def test_readme_operators():
    names: dict[str, torch.Tensor] = {}
    names["fflow"], names["bflow"] = torch.randn(2, 1, 5, 2, 32, 40).unbind(0)
    names["queries"], names["keys"], names["values"] = torch.randn(3, 1, 5, 8, 32, 40).unbind(0)
    exec(program(ROOT / "README.md", "search = nn.NonLocalSearch"), names)
    assert names["dists"].shape == (1, 2, 5, 8, 10, 10)
    assert names["out"].shape == (1, 2, 5, 4, 32, 40)
