"""The shipped weights: name -> file and sha256. Installed as `vnlsdenoise.weights`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """A file beside this one, and the sum of its bytes."""

    file: str
    sha256: str


WEIGHTS = {
    "small": Weights("small.safetensors", "0c55d8b1b30fbfb7364dcbde47dfd6f54d9bb96cae35970ed38ea963155733a7"),
    "base": Weights("base.safetensors", "f46b5f6157139fea14247c12032e96a358b311dff1ec0997f06ba6da1a29561a"),
}
