"""The shipped weights: name -> file and sha256. Installed as `vnlsdenoise.weights`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """A file beside this one, and the sum of its bytes."""

    file: str
    sha256: str


WEIGHTS = {
    "small": Weights("small.safetensors", "2e8897ed6f5423a4c495b8ce71066d853cde03586ca6d8b9d530b201249b317a"),
}
