"""Makes what the other benchmarks share importable from here: they are scripts of the folder above."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))
