"""A run that is asked for some frames gives the bytes that these have in the whole, and does no more than it must."""

import json
import threading
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from vnlsdenoise.classic.planar import PlanarDenoiser
from vnlsdenoise.engine.local import denoise_frames
from vnlsdenoise.engine.settings import DenoiseSettings
from vnlsdenoise.engine.work import Span, Told, Work
from vnlsdenoise.noise import NoiseModel
from vnlsdenoise.video.frame import Frame, PlaneFormat

YUV = PlaneFormat("yuv", 48, 40, 8, 1, 1)
FAST = DenoiseSettings(None, preset="fast")


def film(layout: PlaneFormat, scenes: Iterable[tuple[int, float, str]], seed: int = 1) -> list[Frame]:
    """Scenes of (frames, deviation of the noise, how): "moves", "doubled" (each frame twice), "still" (the first one
    again and again), "black" (without noise)."""
    random = np.random.default_rng(seed)
    made: list[Frame] = []
    for number, (count, sigma, how) in enumerate(scenes):
        wide = [
            np.kron(random.uniform(40, 200, (shape[0] // 4 + 1, shape[1] // 4 + 40)), np.ones((4, 4)))
            for shape in layout.plane_shapes
        ]
        before: tuple[np.ndarray, ...] = ()
        for index in range(count):
            if before and (how == "still" or (how == "doubled" and index % 2)):
                made.append(Frame(before))
                continue
            planes = []
            for texture, (height, width) in zip(wide, layout.plane_shapes, strict=True):
                shown = texture[:height, index % 100 : index % 100 + width] + sigma * random.standard_normal(
                    (height, width)
                )
                shown = shown + 60 * (number % 2) if how != "black" else np.full((height, width), 16.0)
                planes.append(shown.round().clip(0, layout.peak).astype(np.uint8))
            before = tuple(planes)
            made.append(Frame(before))
    return [replace(frame, pts=number) for number, frame in enumerate(made)]


TALL, WIDE = PlaneFormat("yuv", 48, 80, 8, 1, 1), PlaneFormat("yuv", 96, 48, 8, 1, 0)
FILMS = {
    "scenes": (YUV, FAST, [(70, 8.0, "moves"), (5, 8.0, "moves"), (75, 14.0, "moves")]),
    "doubled": (YUV, FAST, [(150, 8.0, "doubled")]),
    "still": (YUV, FAST, [(40, 8.0, "moves"), (110, 8.0, "still"), (30, 9.0, "moves")]),
    "black": (YUV, FAST, [(40, 0.0, "black"), (80, 10.0, "moves")]),
    "given": (YUV, replace(FAST, sigma=(8.0, 8.0, 0.0), keep_grain=0.25), [(60, 8.0, "moves"), (60, 8.0, "doubled")]),
    "fields": (TALL, replace(FAST, fields=True), [(60, 8.0, "moves"), (30, 9.0, "moves")]),
    "halved chroma": (WIDE, FAST, [(70, 8.0, "moves")]),
    "rgb": (PlaneFormat("rgb", 40, 40, 8), FAST, [(70, 9.0, "moves")]),
    "learned": (PlaneFormat("gray", 40, 40, 8), replace(FAST, method="learned"), [(100, 9.0, "moves")]),
}  # fmt: skip


def the_same(one: Frame, other: Frame) -> bool:
    return (one.number, one.pts) == (other.number, other.pts) and all(
        np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True)
    )


@pytest.mark.parametrize("name", FILMS)
def test_any_range_has_the_bytes_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, settings, scenes = FILMS[name]
    frames = film(layout, scenes)
    work = Work()
    whole = list(denoise_frames(frames, layout, settings, work))
    assert [frame.number for frame in whole] == list(range(len(frames)))
    # What a manifest keeps is text.
    upper, lower = (
        {number: NoiseModel.from_json(json.loads(json.dumps(noise.to_json()))) for number, noise in measured.items()}
        for measured in work.measured
    )
    assert (upper, lower) == work.measured and (upper or settings.sigma)

    fed: list[int] = []
    real = PlanarDenoiser.push

    def counted(denoiser: PlanarDenoiser, planes: object) -> object:
        fed.append(1)
        return real(denoiser, planes)  # type: ignore[arg-type]

    monkeypatch.setattr(PlanarDenoiser, "push", counted)
    last = len(frames)
    for spans in (
        [(last - 7, None)],
        [(0, 11), (last - 30, last - 20)],
        [(last // 2, last // 2 + 3), (last - 1, None)],
    ):
        wanted = [Span(first, end, whole[first].fed) for first, end in spans]
        part = Work(wanted, (dict(upper), dict(lower)))
        fed.clear()
        found = list(denoise_frames(frames, layout, settings, part))
        expected = [frame for frame in whole if any(span.wants(frame.number) for span in wanted)]
        assert len(found) == len(expected)
        assert all(the_same(one, other) for one, other in zip(found, expected, strict=True))
        assert [(s.first, s.frames, s.noise) for s in part.scenes] == [
            (s.first, s.frames, s.noise) for s in work.scenes
        ]
        assert part.measured == work.measured
    # The last ones of a range that ends the film: no frame was fed before it had to be.
    spans = [Span(last - 7, None, whole[last - 7].fed)]
    fed.clear()
    list(denoise_frames(frames, layout, settings, Work(spans, (dict(upper), dict(lower)))))
    assert sum(fed) <= sum(last - start for start in spans[0].fed)


@pytest.mark.parametrize("name", FILMS)
def test_a_look_tells_all_that_a_part_needs(name: str) -> None:
    """A pass that denoises nothing finds where every frame is fed from and the noise of every scene; of a part alone,
    without the frames before it, that makes the bytes of the whole."""
    layout, settings, scenes = FILMS[name]
    frames = film(layout, scenes)
    work, looked = Work(), Work((), looks=True)
    whole = list(denoise_frames(frames, layout, settings, work))
    looks = list(denoise_frames(frames, layout, settings, looked))
    assert looked.measured == work.measured and looked.scenes == work.scenes
    assert [(frame.number, frame.begins, frame.repeats) for frame in looks] == [
        (frame.number, frame.begins, frame.repeats) for frame in whole
    ]
    assert all(a <= b for one, other in zip(looks, whole, strict=True) for a, b in zip(one.fed, other.fed, strict=True))
    late = [one.fed == other.fed for one, other in zip(looks, whole, strict=True)]
    assert sum(late) > 0.6 * len(late)
    if settings.fields:
        return  # of which a part is read from the start of the film
    begins = [0, *(frame.number for frame in looks if frame.begins)]
    for at in (*begins[1:], len(frames) // 2, len(frames) - 7):
        end = min(at + 5, len(frames))
        [start] = looks[at].fed
        first = max(number for number in begins if number <= start)
        for until in (min([number for number in begins if number >= end], default=len(frames)), end):
            cuts, repeats = (
                bytes(getattr(frame, flag) for frame in looks[first:until]) for flag in ("begins", "repeats")
            )
            closed = until in begins or until == len(frames)
            told = Told(first, start, cuts, repeats, closed)
            measured = {number: noise for number, noise in work.measured[0].items() if first <= number < until}
            part = Work([Span(at, end, (start,))], (measured, {}), told=told)
            # What comes is numbered by its reader, and no frame before the start is looked at.
            given = [replace(frame, number=number) for number, frame in enumerate(frames)][start:until]
            if not closed:
                with pytest.raises(LookupError, match="does not suffice"):
                    list(denoise_frames(given, layout, settings, part))
                continue
            found = list(denoise_frames(given, layout, settings, part))
            assert len(found) == end - at and part.measured[0] == measured
            assert all(the_same(one, other) for one, other in zip(found, whole[at:end], strict=True))


def test_a_look_goes_on_while_the_noise_of_a_scene_is_measured() -> None:
    layout, settings, scenes = FILMS["scenes"]
    frames = film(layout, scenes)
    last_asked = threading.Event()
    opened: list[int] = []

    def measure(_: PlaneFormat, begin: list[Frame]) -> NoiseModel:
        if begin[0].number == 0:
            assert last_asked.wait(20)
        elif begin[0].number == 75:
            last_asked.set()
        return NoiseModel.of_sigma([8.0, 8.0, 8.0])

    looked = Work((), looks=True, measure=measure, opened=lambda scene: opened.append(scene.first))
    looks = list(denoise_frames(frames, layout, settings, looked))
    assert [frame.number for frame in looks] == list(range(150))
    assert opened == [scene.first for scene in looked.scenes] == [0, 70, 75]
    assert [scene.frames for scene in looked.scenes] == [70, 5, 75]


def test_the_end_of_a_scene_is_told_before_the_noise_of_the_next_is_known() -> None:
    layout, settings, scenes = FILMS["scenes"]
    second_ended = threading.Event()

    def measure(_: PlaneFormat, begin: list[Frame]) -> NoiseModel:
        assert begin[0].number < 75 or second_ended.wait(20)
        return NoiseModel.of_sigma([8.0, 8.0, 8.0])

    ends = []
    for frame in denoise_frames(film(layout, scenes), layout, settings, Work((), looks=True, measure=measure)):
        if frame.ends:
            ends.append(frame.number)
        if frame.number == 74:
            second_ended.set()
    assert ends == [69, 74, 149]


def test_the_frame_before_is_too_late_to_be_fed_from() -> None:
    """The place that a result names is the last one that serves, as far as rounding to samples lets one see."""
    layout = PlaneFormat("gray", 32, 32, 16)
    random = np.random.default_rng(3)
    texture = random.uniform(10000, 50000, (32, 32))
    frames = [
        Frame(((texture + 2560 * random.standard_normal((32, 32))).round().clip(0, 65535).astype(np.uint16),))
        for _ in range(60)
    ]
    settings = DenoiseSettings((2560.0,), preset="fast")
    whole = list(denoise_frames(frames, layout, settings))
    [needed] = whole[50].fed
    for late, same in ((0, True), (1, False)):
        [found] = denoise_frames(frames, layout, settings, Work([Span(50, 51, (needed + late,))]))
        assert np.array_equal(found.planes[0], whole[50].planes[0]) is same


def test_damaged_frames_are_no_evidence() -> None:
    frames = film(YUV, [(30, 8.0, "moves")])
    clean = list(denoise_frames(frames, YUV, replace(FAST, duplicates=False)))
    # A frame that conceals another is one more of the one before, though duplicates are not looked for.
    concealed = [*frames[:15], replace(frames[14], damage="concealed"), *frames[15:]]
    found = list(denoise_frames(concealed, YUV, replace(FAST, duplicates=False)))
    assert all(np.array_equal(a, b) for a, b in zip(found[15].planes, clean[14].planes, strict=True))
    for one, other in zip([*found[:15], *found[16:]], clean, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
    # A damaged first frame stays alone.
    broken = replace(frames[0], planes=tuple(255 - plane for plane in frames[0].planes), damage="kept")
    found = list(denoise_frames([broken, *frames], YUV, FAST))
    for one, other in zip(found[1:], denoise_frames(frames, YUV, FAST), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
