"""The house keeps its floors: who may import whom."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# From the roof down. A room may import from lower floors and from its own; errors and weights are leaves for all.
FLOORS = [
    ["cli", "__main__"],
    ["preview", "bench"],
    ["job", "compare", "training"],
    ["engine"],
    ["api"],
    ["classic", "learned", "scenes", "budget"],
    ["noise", "planes"],
    ["nn"],
    ["ops"],
    ["page"],
    ["video"],
    ["_library", "pinned"],
    ["errors", "weights"],
]
FLOOR = {room: index for index, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[tuple[str, pathlib.Path]]:
    """(room, file) of every module of the package."""
    found = []
    for folder, prefix in ((ROOT / "vnlsdenoise", ""), (ROOT / "cli", "cli"), (ROOT / "weights", "weights")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).parts
            room = prefix or (parts[0] if len(parts) > 1 else path.stem)
            if room != "__init__":
                found.append((room, path))
    return found


def imported_rooms(path: pathlib.Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "vnlsdenoise":
                names = [f"vnlsdenoise.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("vnlsdenoise.")}
    return rooms


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value).removeprefix(f"{ROOT}/"))
def test_imports_go_down(room: str, path: pathlib.Path) -> None:
    for other in imported_rooms(path):
        assert FLOOR[other] >= FLOOR[room], f"{path.name} of {room} imports {other}, which is above it"
    if room == "video":
        assert "ops" not in imported_rooms(path)


def test_backends_do_not_include_each_other() -> None:
    for backend, other in (("cpu", "cuda"), ("cuda", "cpu")):
        for path in (ROOT / "csrc" / backend).iterdir():
            assert f'"{other}/' not in path.read_text(), f"{path.name} includes {other}/"
