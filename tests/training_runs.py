"""Runs of training on shapes that a CPU gets through."""

import dataclasses
from pathlib import Path

from vnlsdenoise.learned.network import Dimensions
from vnlsdenoise.training.degradation import Mixture
from vnlsdenoise.training.loop import Process, Settings, Trainer
from vnlsdenoise.training.scenery import Grid
from vnlsdenoise.training.schedule import Length


def settings(folder: Path, out: Path, steps: int, **changes: object) -> Settings:
    """Of so many steps on the footage of a folder."""
    least = Settings(
        (folder,),
        out,
        Dimensions((16, 16, 16), 0, (1, 1, 1), 1),
        Length(None, steps),
        crops=(("444", 2), ("420", 1), ("gray", 1)),
        frames=3,
        side=48,
        grid=Grid(1, 3, 64, 64),
        plate_frames=4,
        plates=(("444", 2), ("420", 1), ("gray", 1)),
        renew=1,
        report=3.0,
        check=1e9,
        held_back=1,
        threads=2,
        mixture=Mixture(0.1, 0, 0, 0, 0, 0, 0, 0, 0, 0),  # what the least of networks learns in a hundred steps
    )
    return dataclasses.replace(least, **changes)


def train(made: Settings) -> dict[str, float]:
    """What the last validation says."""
    return Trainer(made, Process.of_environment("cpu")).run()
