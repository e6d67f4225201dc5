"""When parts are given, without workers: by what these tell."""

from types import SimpleNamespace
from typing import Any

import pytest

from vnlsdenoise.engine.ray import News
from vnlsdenoise.engine.schedule import Span
from vnlsdenoise.job import fleet as driving


class Workers:
    """Two that are up, and note what they are given."""

    size, device = 2, "cpu"

    def __init__(self) -> None:
        self.given: list[tuple[int, Span]] = []

    def is_up(self, _: int) -> bool:
        return True

    def give(self, worker: int, _: Any, __: Any, ___: Any, span: Span) -> int:
        self.given.append((worker, span))
        return len(self.given)

    def worker_of(self, task: int) -> int:
        return self.given[task - 1][0]


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One film, of which nothing is known yet, and a clock that stands."""
    films = driving.FilmFleet(Workers(), print)  # type: ignore[arg-type]
    film = SimpleNamespace(plan=None, place=None, error=None, given=0, reached={}, tell=lambda: None)
    film.task = lambda part: part.span
    films._films["film"] = film  # type: ignore[assignment]
    films._schedule.share("film", 240, 240.0)
    monkeypatch.setattr(driving, "time", SimpleNamespace(monotonic=lambda: 0.0))
    return films


def find(films: Any, *scenes: tuple[int, int]) -> list[int]:
    """More scenes of the film become known; who was given parts so far."""
    for first, end in scenes:
        films._schedule.found("film", Span(first, end, True))
    films._give_all()
    return [worker for worker, _ in films._fleet.given]


def test_a_new_worker_is_given_a_second_part_when_it_has_fed_its_first(films: Any) -> None:
    assert find(films, *((at, at + 10) for at in range(0, 240, 10))) == [0, 1]
    films._heard(News(2, "told", ("progress", "encoded", 0)), None)
    assert find(films) == [0, 1]
    films._given[2].at = -2.0
    films._heard(News(2, "told", ("fed",)), None)
    assert find(films) == [0, 1, 1]


def test_what_is_left_goes_to_who_is_free_first(films: Any) -> None:
    for worker in (0, 1):
        films._speeds.done(worker, 10.0, 1.0)
    assert find(films, (0, 60)) == [0]
    assert find(films, (60, 70)) == [0, 1]
    films._schedule.found("film", Span(70, 80, True))
    films._schedule.close("film")
    assert find(films) == [0, 1, 1]
    assert [span.frames for _, span in films._fleet.given] == [60, 10, 10]
