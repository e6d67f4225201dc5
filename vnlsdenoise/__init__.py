"""Video denoising by optical flow, shifted non-local search and patch-group filtering."""
