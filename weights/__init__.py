"""The shipped weights: name -> file and sha256. Installed as `vnlsdenoise.weights`."""
