"""The shipped weights: name -> file and sha256. Installed as `vnlsdenoise.weights`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """A file beside this one, and the sum of its bytes."""

    file: str
    sha256: str


WEIGHTS = {
    "small": Weights("small.safetensors", "0734d357165b0b0215b88844ec0a28561768ad92f8f5b44523b3ba45a3154809"),
    "base": Weights("base.safetensors", "c547f82b0d430fb77f52ad84107a6bb5011ae4c38c01b289e69c1ca346a6c325"),
}
