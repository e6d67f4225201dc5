"""The shipped weights: name -> file and sha256. Installed as `vnlsdenoise.weights`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """A file beside this one, and the sum of its bytes."""

    file: str
    sha256: str


WEIGHTS = {
    "small": Weights("small.safetensors", "0c55d8b1b30fbfb7364dcbde47dfd6f54d9bb96cae35970ed38ea963155733a7"),
    "base": Weights("base.safetensors", "d5b8e9d59faa05869695b18532d45fa352f25dd0d138fb60c1c1a18f697231ed"),
}
