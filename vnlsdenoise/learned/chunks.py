"""The chunks that the recurrences run over.

A scene is cut into chunks by the numbers of its frames alone. The network sees some frames before and after each, so
that the recurrences have run in, and nothing beyond: a frame depends on no other.
"""

CHUNK, RUN_IN = 16, 4


def first_seen(number: int) -> int:
    """The first frame whose classic result a frame depends on; both numbered in their scene."""
    return max(0, number - number % CHUNK - RUN_IN)
