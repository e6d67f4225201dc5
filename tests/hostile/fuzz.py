"""Mutated files of every container and kind of image at the command line: nothing may hang, crash or lose frames.

    python tests/hostile/fuzz.py --count 3000 --seed 1

Every file is worked on in a process of its own, with a limit of time and of memory. Prints how the runs ended and every
fault: a run beyond the limits, a traceback, an internal error, an end by a signal, exit code 0 with fewer frames than
FFmpeg decodes, a file outside the output.
"""

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60
MEMORY = 4 << 30  # of address space; a run of the whole files takes a tenth
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Outcome:
    """How one run ended: its exit code, negative for a signal, memory in MiB, what it said, what is wrong with that."""

    number: int
    name: str
    code: int
    memory: int
    said: str
    fault: str

    def __str__(self) -> str:
        what = self.fault or "worth a look"
        return f"{self.number} {self.name}: {what}: exit code {self.code}, {self.memory} MiB: {self.said}"


def mutate(data: bytes, randoms: random.Random) -> bytes:
    """A file with something wrong in its header, index, payload or lengths, or cut, or with a part twice or missing."""
    changed = bytearray(data)
    kind = randoms.choice(("header", "index", "payload", "lengths", "cut", "twice", "missing", "bits"))
    size = len(changed)
    if kind == "cut":
        return bytes(changed[: randoms.randrange(1, size)])
    if kind in ("twice", "missing"):
        begin = randoms.randrange(size)
        end = min(size, begin + randoms.randrange(1, max(2, size // 4)))
        return bytes(changed[:end] + changed[begin:]) if kind == "twice" else bytes(changed[:begin] + changed[end:])
    if kind == "bits":
        for _ in range(randoms.randrange(1, 20)):
            changed[randoms.randrange(size)] ^= 1 << randoms.randrange(8)
        return bytes(changed)
    begin, end = {
        "header": (0, min(size, 512)),
        "index": (max(0, size - 2048), size),
        "payload": (0, size),
        "lengths": (0, size),
    }[kind]
    for _ in range(randoms.randrange(1, 6)):
        at = randoms.randrange(begin, end)
        if kind == "lengths":
            order, width = randoms.choice("<>"), randoms.choice("BHI")
            value = randoms.choice(_EXTREMES) & ((1 << 8 * struct.calcsize(width)) - 1)
            put = struct.pack(order + width, value)
        else:
            put = randoms.randbytes(randoms.randrange(1, 32))
        changed[at : at + len(put)] = put[: size - at]
    return bytes(changed)


def in_child(work: Callable[[], int], said: Path, seconds: int, memory: int) -> tuple[int, int]:
    """Run `work` in a process of its own within limits.

    Its exit code, negative where a signal ended it, and the most memory that it held, in MiB.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            signal.alarm(seconds)
            code = work()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss >> 10


def run_file(source: Path, output: Path) -> int:
    """The command line on one file."""
    from vnlsdenoise.cli.main import main

    options = ["--strength", "0", "--progress", "none", "--interlaced", "ignore", "-y"]
    if output.suffix:
        options += ["--encoder-opt", "preset=ultrafast"]
    main([str(source), "-o", str(output), *options])


def decoded_frames(path: Path) -> int:
    """How many frames FFmpeg makes of the first film in a file, whatever is wrong with the rest."""
    import av

    from vnlsdenoise.video.container import decode_next, decoder_of, main_video, open_input

    count = 0
    with open_input(path) as container:
        stream = main_video(container, path)
        decoder = decoder_of(stream)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                packet = None
            with contextlib.suppress(av.FFmpegError):
                count += len(decode_next(decoder, packet if packet is not None and packet.size else None))
            if packet is None or not packet.size:
                return count


def frames_missing(source: Path, output: Path, folder: Path) -> str:
    """What is missing in the output of a run that ended well, "" for nothing; by two processes of their own."""
    counts = []
    for path in (source, output):
        place = folder / "count"

        def count(path: Path = path, place: Path = place) -> int:
            place.write_text(str(decoded_frames(path)))
            return 0

        if in_child(count, folder / "said-of-count", SECONDS, MEMORY)[0]:
            return ""  # What FFmpeg itself does not count cannot be compared.
        counts.append(int(place.read_text()))
    return f"{counts[1]} frames of {counts[0]}" if counts[1] < counts[0] else ""


def try_one(seed: Path, number: int, randoms: random.Random, folder: Path, seconds: int, memory: int) -> Outcome:
    """Mutate one file, run it, and judge how that ended."""
    inputs, outputs = folder / "in", folder / "out"
    for place in (inputs, outputs):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    source = inputs / seed.name
    source.write_bytes(mutate(seed.read_bytes(), randoms))
    is_image = seed.suffix in (".png", ".tif")
    output = outputs / ("images" if is_image else "out.mkv")
    said = folder / "said"
    code, held = in_child(lambda: run_file(source, output), said, seconds, memory)
    text = said.read_text(errors="replace")
    fault = ""
    if code < 0:
        fault = f"hung for {seconds} s" if code == -signal.SIGALRM else f"ended by signal {-code}"
    elif "Traceback" in text or "internal error" in text or code == 1:
        fault = "an internal error"
    elif sorted(path.name for path in inputs.iterdir()) != [seed.name]:
        fault = "something was written beside the input"
    elif code not in (0, 7) and any(outputs.iterdir()):
        fault = "something is left of an output that failed"
    elif code == 0 and not is_image and (missing := frames_missing(source, output, folder)):
        fault = f"exit code 0 with frames missing: {missing}"
    if fault:
        shutil.copy(source, folder / f"fault-{number}-{seed.name}")
    return Outcome(number, seed.name, code, held, text.strip()[-200:], fault)


def fuzz(
    seeds: list[Path], count: int, seed: int, folder: Path, seconds: int = SECONDS, memory: int = MEMORY
) -> Iterator[Outcome]:
    """Run so many mutated files, the same for the same seed."""
    randoms = random.Random(seed)
    for number in range(count):
        yield try_one(seeds[number % len(seeds)], number, randoms, folder, seconds, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where files that show a fault are left")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent.parent))
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        originals = folder / "originals"
        originals.mkdir(exist_ok=True)

        def make() -> int:
            from hostile.seeds import make_files

            make_files(originals)
            return 0

        # The encoders leave threads behind, which a process that forks must not have.
        assert in_child(make, folder / "said", 600, 1 << 40)[0] == 0, (folder / "said").read_text()
        codes, faults, most = Counter[int](), 0, 0
        for outcome in fuzz(sorted(originals.iterdir()), arguments.count, arguments.seed, folder):
            codes[outcome.code] += 1
            faults += bool(outcome.fault)
            most = max(most, outcome.memory)
            if outcome.fault or outcome.code not in (0, 3, 7):
                print(outcome, flush=True)
    print("exit codes:", dict(sorted(codes.items())))
    print(f"{arguments.count} files, {faults} faults, at most {most} MiB of memory")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
