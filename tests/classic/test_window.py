import pytest

from vnlsdenoise.classic.window import SlidingWindow


def run(frames: int, radius: int, known: int) -> tuple[list[tuple[int, list[int]]], list[int], list[int]]:
    """-> (frame worked on, window) of every call, finished frames in order, how many of them after each that came.

    known: so many frames are known of before they come.
    """
    calls: list[tuple[int, list[int]]] = []
    finished: list[int] = []
    after: list[int] = []

    def work(window: list[int], index: int) -> None:
        calls.append((window[index], list(window)))
        assert not set(window) & set(finished), "a frame was given out before its last contribution"

    def finish(item: int) -> int:
        finished.append(item)
        return item

    window = SlidingWindow(radius, work, finish)
    out: list[int] = []
    for frame in range(frames):
        out.extend(window.push(frame, followed=frame + known < frames))
        after.append(len(out))
    out.extend(window.flush())
    assert out == finished
    return calls, out, after


@pytest.mark.parametrize("radius", [0, 1, 4])
@pytest.mark.parametrize("frames", [1, 2, 3, 8, 9, 10, 30])
@pytest.mark.parametrize("known", [1, 2, 100])
def test_every_frame_once_in_its_window(frames: int, radius: int, known: int) -> None:
    calls, out, after = run(frames, radius, known)
    assert out == list(range(frames))
    # One that is the last that is known of has to wait.
    assert after == [max(0, frame + (frame + known < frames) - 2 * radius) for frame in range(frames)]
    assert [frame for frame, _ in calls] == list(range(frames))
    for frame, window in calls:
        first = max(0, min(frame - radius, frames - 1 - 2 * radius))
        last = min(frames - 1, max(frame + radius, 2 * radius))
        assert window == list(range(first, last + 1))


def test_a_new_clip_begins_after_flush() -> None:
    seen: list[tuple[int, ...]] = []
    window = SlidingWindow[int, int](1, lambda items, index: seen.append((*items, index)), lambda item: item)
    for start in (0, 100):
        out = [done for frame in range(start, start + 4) for done in window.push(frame, frame < start + 3)]
        out.extend(window.flush())
        assert out == list(range(start, start + 4))
    half = len(seen) // 2
    assert [tuple(v - 100 for v in s[:-1]) for s in seen[half:]] == [s[:-1] for s in seen[:half]]
