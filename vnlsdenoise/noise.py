def estimate_sigma(planes, *, peak):
    raise NotImplementedError
