"""Memory of the host: what a process has, and what it may still take, as Linux tells."""

import re
from pathlib import Path

_allowed: int | None = None  # bytes, of what a process among others was told to take at most


def allow(memory: int) -> None:
    """Have this process, among others that have theirs, find no more than so many bytes of host memory in all."""
    global _allowed
    _allowed = memory


def available_memory() -> int | None:
    """Bytes of host memory that this process may still take, by machine, control groups, `allow`; None: not known."""
    found = [machine_memory(), *_left_in_groups()]
    if _allowed is not None:
        found.append(max(0, _allowed - (resident_memory("VmRSS") or 0)))
    known = [value for value in found if value is not None]
    return min(known) if known else None


def machine_memory() -> int | None:
    """Bytes that the machine has left, whatever groups of processes may take of them; None: not known."""
    return _told(Path("/proc/meminfo"), "MemAvailable")


def resident_memory(name: str) -> int | None:
    """Bytes of this process that are in memory (VmRSS), or were at the most (VmHWM); None: not known."""
    return _told(Path("/proc/self/status"), name)


def _told(file: Path, name: str) -> int | None:
    try:
        told = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.M)
    except OSError:
        return None
    return None if told is None else 1024 * int(told[1])


def _left_in_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """What every control group with a limit that this process is in has left, of version 2 and of version 1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        old = "memory" in controllers.split(",")
        if controllers and not old:
            continue
        base = root / "memory" if old else root
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
        group = base / path.strip("/")
        # In a container the path may be that of the host, and the group itself lies at the root.
        for folder in dict.fromkeys((*(f for f in (group, *group.parents) if f.is_relative_to(base)), base)):
            value = _left(folder, *names)
            if value is not None:
                left.append(value)
    return left


def _left(folder: Path, limit: str, usage: str) -> int | None:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        if most == "max":
            return None
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    # What files are cached counts as used, and is given up for whoever asks.
    cached = int(facts.get("total_inactive_file", facts.get("inactive_file", 0)))
    return max(0, int(most) - used + cached)
