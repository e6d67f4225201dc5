"""The training loop: one process a device, all in step."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor

from vnlsdenoise.errors import InputError
from vnlsdenoise.learned.checkpoint import Header, load_network
from vnlsdenoise.learned.denoiser import on_device
from vnlsdenoise.learned.network import Dimensions, Layout, Network
from vnlsdenoise.training.ahead import Ahead
from vnlsdenoise.training.degradation import Degraded, Mixture
from vnlsdenoise.training.footage import Footage, Source, find_pairs, find_sources, read_all
from vnlsdenoise.training.growth import grown
from vnlsdenoise.training.measured import PartlyMeasured
from vnlsdenoise.training.objective import Objective, captured
from vnlsdenoise.training.optimiser import Optimiser
from vnlsdenoise.training.pool import Batch, Material, Plate, PlateMaker, Pool
from vnlsdenoise.training.recorded import TARGET_VARIANCE, Recorded
from vnlsdenoise.training.scenery import Grid, Scenery
from vnlsdenoise.training.schedule import Length, Schedule
from vnlsdenoise.training.state import LOG, NETWORK, Log, Progress, busy_share, load_weights, save_run
from vnlsdenoise.training.validation import Validation, cases_of

Kind = Literal["clean", "pairs", "noisy"]
_GRID = Grid(rows=3, columns=5, height=180, width=192)  # of cells that most clips fill; many mosaics, of many noises


def crops_of_layouts(count: int) -> tuple[tuple[Layout, int], ...]:
    """So many crops: half of them of three whole planes, an eighth of luma alone, the others 4:2:0."""
    whole, gray = count // 2, count // 8
    return ("444", whole), ("420", count - whole - gray), ("gray", gray)


def mosaics_of_layouts(count: int) -> tuple[tuple[Layout, int], ...]:
    """So many mosaics to keep, nearly as crops of the layouts need them."""
    half, gray = count * 10 // 27, count * 5 // 27
    return ("444", count - half - gray), ("420", half), ("gray", gray)


@dataclass(frozen=True)
class Settings:
    """What a run is made of.

    folders: of footage. kind: what lies there, clean footage, pairs of noisy and clean clips, or noisy clips alone.
    start: weights to begin with, of a network of the same size or a smaller one, None for none. preset: of the classic
    results that the network is to correct. out: where the network, the state and the log go. resume: go on with what
    lies there.
    crops: a step on one device, of each layout. frames, side: of a crop. rate: largest learning rate.
    grid, plate_frames, plates: of the mosaics that crops are taken from, and how many are kept of each layout.
    mixture: of the noise. camera, coded: shares of the mosaics that a camera records, and that go through a codec, of
    clean footage. renew: a mosaic is made anew every so many steps. report, check: seconds between lines of the log,
    and between validations, which save. held_back: mosaics of every case that validation is on. threads: that read
    footage. makers: threads that make mosaics.
    """

    folders: tuple[Path, ...]
    out: Path
    dimensions: Dimensions
    length: Length
    resume: bool = False
    kind: Kind = "clean"
    start: str | None = None
    preset: str = "fast"
    seed: int = 0
    crops: tuple[tuple[Layout, int], ...] = crops_of_layouts(32)
    frames: int = 12
    side: int = 128
    rate: float = 1e-3
    grid: Grid = _GRID
    plate_frames: int = 16
    plates: tuple[tuple[Layout, int], ...] = mosaics_of_layouts(216)
    renew: int = 5
    report: float = 10.0
    check: float = 150.0
    held_back: int = 4
    threads: int = 8
    makers: int = 1
    compiled: bool = True
    mixture: Mixture = field(default_factory=Mixture)
    camera: float = 0.0
    coded: float = 0.0


@dataclass(frozen=True)
class Process:
    """This process among those that train together, and its device."""

    rank: int
    all: int
    device: torch.device

    @classmethod
    def of_environment(cls, device: str) -> "Process":
        """As torchrun has set it up, or alone. device: "cpu" or "cuda"."""
        rank, all = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        chosen = torch.device(device)
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", chosen.index or 0)))
            torch.cuda.set_device(chosen)
        if all > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        return cls(rank, all, chosen)


class Trainer:
    """Everything that a run keeps in memory."""

    def __init__(self, settings: Settings, process: Process) -> None:
        self._settings = settings
        self._process = process
        device = process.device
        settings.out.mkdir(parents=True, exist_ok=True)
        self._log = Log(settings.out / LOG if process.rank == 0 else None)
        self._saved = self._run_to_go_on_with() if settings.resume else None
        self._begin: dict[str, Tensor] | None = None
        if settings.start is not None:
            self._begin = grown(load_network(settings.start), settings.dimensions, settings.seed)
        layouts: list[Layout] = [layout for layout, _ in settings.plates]
        if settings.kind == "clean":
            materials, cases = self._clean(layouts)
        else:
            materials, cases = self._recorded(layouts)
        self._pools = [
            Pool(layout, plates, settings.plate_frames, settings.grid, device) for layout, plates in settings.plates
        ]
        # Of every thread its own: each holds what it measures flow with.
        self._makers = [
            partial(self._plate, {m.layout: PlateMaker(m, settings.preset) for m in materials})
            for _ in range(settings.makers)
        ]
        self._validation = None
        if process.rank == 0:
            shape = settings.held_back, settings.grid, settings.frames, settings.side
            self._validation = Validation(
                cases,
                *shape,
                settings.dimensions,
                device,
                settings.preset,
                makers=settings.makers,
                target_variance=TARGET_VARIANCE if settings.kind == "noisy" else 0.0,
            )
        self._made = 0
        kept = sum(pool.plates for pool in self._pools)
        with Ahead(device, self._makers, range(kept)) as ahead:
            for _ in range(kept):
                ahead.hand_over(self._keep)
        self._log(event="mosaics", count=self._made)
        torch.manual_seed(settings.seed)
        network = on_device(Network(settings.dimensions), device)
        self._optimiser = Optimiser(network, device)
        if device.type == "cuda" and settings.compiled:
            for part in ("encode", "step_back", "step_forth", "decode", "correct"):
                setattr(network, part, torch.compile(getattr(network, part), dynamic=False))
        self._objective = Objective(network, self._optimiser.gradients.zero_)
        self._step_graph: torch.cuda.CUDAGraph | None = None
        self._gain = torch.zeros((), device=device)

    def run(self) -> dict[str, float]:
        """Train until the time is up; returns the last validation. What is saved can be used at any time."""
        settings, process = self._settings, self._process
        self._objective(self._batches(0))
        if process.device.type == "cuda":
            self._step_graph = captured(self._optimiser.step)
        self._optimiser.reset()
        progress = Progress(0, 0.0)
        if self._saved is not None:
            weights, average, progress = self._saved
            self._optimiser.load(weights, average, progress.step)
            self._made += progress.step // settings.renew
        elif self._begin is not None:
            self._optimiser.load(self._begin, self._begin, 0)
        self._validate(progress.step, progress.seconds)  # what it begins with
        if process.all > 1:
            distributed.barrier()  # the clock starts when all of them are ready
        schedule = Schedule(settings.length, process.device, progress.seconds)
        self._log(event="start", step=progress.step, parameters=sum(w.numel() for w in self._optimiser.weights))
        reported, checked, since = schedule.seconds, schedule.seconds, progress.step
        with Ahead(process.device, self._makers, count(self._made)) as ahead:
            due = 0
            for step in count(progress.step):
                done = schedule.done(step)
                if done == 1:
                    break
                due += step % settings.renew == settings.renew - 1
                # A run by the clock does not wait for a mosaic, which no two runs would have at the same step.
                if due and (settings.length.steps is not None or ahead.ready):
                    ahead.hand_over(self._keep)
                    due = 0
                self._step(step, settings.rate * schedule.rate(done))
                now = schedule.seconds
                if now - reported >= settings.report:
                    self._report(step + 1, now, (step + 1 - since) / (now - reported), done)
                    reported, since = schedule.seconds, step + 1
                if now - checked >= settings.check:
                    self._check(step + 1, schedule.seconds)
                    checked = schedule.seconds
        return self._check(step, schedule.seconds)

    def _step(self, step: int, rate: float) -> None:
        self._objective(self._batches(step))
        gradients = self._optimiser.gradients
        if self._process.all > 1:
            distributed.all_reduce(gradients)
            gradients.div_(self._process.all)
        self._optimiser.rate.fill_(rate)
        if self._step_graph is None:
            self._optimiser.step()
        else:
            self._step_graph.replay()
        self._gain.lerp_(self._objective.gain, max(0.02, 1 / (step + 1)))

    def _batches(self, step: int) -> list[Batch]:
        settings = self._settings
        random = np.random.default_rng([settings.seed, self._process.rank, 0, step])
        crops = dict(settings.crops)
        return [
            pool.draw(random, crops[pool.layout], settings.frames, settings.side)
            for pool in self._pools
            if pool.layout in crops
        ]

    def _place(self, number: int) -> tuple[Pool, int]:
        """Where a mosaic goes: its pool, and the place of the oldest there; pools take turns by their size."""
        number %= sum(pool.plates for pool in self._pools)
        for pool in self._pools:
            if number < pool.plates:
                break
            number -= pool.plates
        return pool, number

    def _plate(self, makers: Mapping[Layout, PlateMaker], number: int) -> Plate:
        """Make a mosaic, with the maker of its layout."""
        pool, _ = self._place(number)
        seed = [self._settings.seed, self._process.rank, 1, number]
        return makers[pool.layout].make(np.random.default_rng(seed))

    def _keep(self, plate: Plate) -> None:
        pool, place = self._place(self._made)
        pool.put(place, plate)
        self._made += 1

    def _clean(self, layouts: list[Layout]) -> tuple[list[Material], dict[str, Material]]:
        """What mosaics are drawn from, and what validation is on, of clean footage."""
        settings = self._settings
        sources = find_sources(settings.folders)

        def scenery(chosen: list[Source], times: int) -> Scenery:
            footage = Footage(read_all(chosen, settings.threads), self._process.device)
            if times == settings.plate_frames:
                self._log(event="footage", clips=len(footage.clips), photos=len(footage.photos))
            return Scenery(footage, settings.grid, times)

        training, held_back = self._divided(sources)
        drawn = scenery([sources[i] for i in training], settings.plate_frames)
        materials: list[Material] = []
        for layout in layouts:
            degraded = Degraded(drawn, layout, settings.mixture)
            materials.append(PartlyMeasured(degraded, drawn, settings.camera, settings.coded))
        if self._process.rank != 0:
            return materials, {}
        tried = scenery([sources[i] for i in held_back], settings.frames)
        return materials, cases_of(tried, camera=settings.camera > 0, coded=settings.coded > 0)

    def _recorded(self, layouts: list[Layout]) -> tuple[list[Material], dict[str, Material]]:
        """The same of footage that is noisy already."""
        settings = self._settings
        pairs = settings.kind == "pairs"
        sources, clean = find_pairs(settings.folders) if pairs else (find_sources(settings.folders), None)

        def materials(chosen: list[int], times: int, *, validates: bool) -> list[Material]:
            of = [sources[i] for i in chosen]
            noisy = read_all(of, settings.threads)
            wanted = None if clean is None else read_all([clean[i] for i in chosen], settings.threads)
            place = settings.grid, times
            device = self._process.device
            return [Recorded(of, noisy, wanted, *place, layout, device, validates=validates) for layout in layouts]

        training, held_back = self._divided(sources)
        self._log(event="footage", clips=len(training), pairs=pairs)
        tried = materials(held_back, settings.frames, validates=True) if self._process.rank == 0 else []
        return materials(training, settings.plate_frames, validates=False), {f"{m.layout} recorded": m for m in tried}

    def _divided(self, sources: list[Source]) -> tuple[list[int], list[int]]:
        """Which sources are trained on, and which validation is on: where no scene is held back, on the same."""
        training = [index for index, source in enumerate(sources) if not source.held_back]
        held_back = [index for index, source in enumerate(sources) if source.held_back]
        if not training:
            training = held_back
        if not held_back or held_back == training:
            self._log(event="warning", text="no scene is held back: validation is on those that are trained on")
            held_back = training
        return training, held_back

    def _run_to_go_on_with(self) -> tuple[dict[str, Tensor], dict[str, Tensor], Progress]:
        """Weights, their average, and how far it is; raises InputError before any mosaic is made."""
        weights, progress = load_weights(self._settings.out)
        network = load_network(str(self._settings.out / NETWORK))
        if network.preset != self._settings.preset:
            raise InputError(
                f"the run in {self._settings.out} is on results of {network.preset!r}; go on with --preset "
                f"{network.preset}, or begin another with --weights {self._settings.out / NETWORK} and another --out"
            )
        return weights, dict(network.state_dict()), progress

    def _named(self, tensors: list[Tensor]) -> dict[str, Tensor]:
        return dict(zip(self._optimiser.names, tensors, strict=True))

    def _report(self, step: int, seconds: float, speed: float, done: float) -> None:
        settings = self._settings
        pixels = sum(crops for _, crops in settings.crops) * settings.frames * settings.side**2 * self._process.all
        self._log(
            event="step",
            step=step,
            seconds=seconds,
            done=done,
            gain=float(self._gain),
            steps_per_second=speed,
            megapixels_per_second=speed * pixels / 1e6,
            busy=busy_share(self._process.device),
            mosaics=self._made,
        )

    def _check(self, step: int, seconds: float) -> dict[str, float]:
        if self._validation is None:
            return {}
        average, weights = self._named(self._optimiser.average), self._named(self._optimiser.weights)
        header = Header(self._settings.dimensions, self._settings.preset)
        save_run(self._settings.out, header, average, weights, Progress(step, seconds))
        return self._validate(step, seconds)

    def _validate(self, step: int, seconds: float) -> dict[str, float]:
        if self._validation is None:
            return {}
        found = self._validation(self._named(self._optimiser.average))
        self._log(event="validation", step=step, seconds=seconds, **found)
        return found
