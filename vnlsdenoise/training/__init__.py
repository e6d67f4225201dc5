"""Training of the network of `vnlsdenoise.learned`; `python -m vnlsdenoise.training --help`."""
