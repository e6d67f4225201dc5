"""The noise of a video: its model, its measurement, and what takes a denoiser for white noise to it."""

from vnlsdenoise.noise.estimate import estimate_sigma, measure_plane
from vnlsdenoise.noise.model import Evidence, NoiseModel, PlaneNoise

__all__ = ["Evidence", "NoiseModel", "PlaneNoise", "estimate_sigma", "measure_plane"]
