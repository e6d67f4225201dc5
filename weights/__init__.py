"""The shipped weights: name -> file and sha256. Installed as `vnlsdenoise.weights`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """A file beside this one, and the sum of its bytes."""

    file: str
    sha256: str


WEIGHTS = {
    "small": Weights("small.safetensors", "9c8eaee4ef0b718a44695a969880adbdaa92920897afafc8971a1109c165bfae"),
    "base": Weights("base.safetensors", "92cfa7d3d9b2dd7d9a24b5aeb4bb0b017dbe6a0e2b8b96ccb7aaddafd17df7c0"),
}
