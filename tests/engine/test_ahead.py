import threading
import time

import pytest

from vnlsdenoise.engine.ahead import ahead


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_items_come_in_order_and_the_thread_ends(count):
    assert list(ahead(iter(range(count)), 2)) == list(range(count))
    assert threads() == 0


def test_an_error_comes_after_the_items_before_it_as_it_is():
    mistake = OSError("disk gone")

    def broken():
        yield from range(5)
        raise mistake

    found = []
    with pytest.raises(OSError, match="disk gone") as raised:
        for item in ahead(broken(), 2):
            found.append(item)
    assert found == list(range(5))
    assert raised.value is mistake
    assert threads() == 0


def test_no_more_than_a_few_are_taken_ahead():
    taken = []
    items = ahead((taken.append(number) or number for number in range(100)), 3)
    for number in range(20):
        assert next(items) == number
        time.sleep(0.002)
        assert len(taken) <= number + 1 + 3 + 1
    items.close()
    assert threads() == 0


@pytest.mark.parametrize("after", [0, 1, 7])
def test_whoever_stops_early_ends_the_thread(after):
    source = (number for number in range(10**9))
    items = ahead(source, 2)
    for _ in range(after):
        next(items)
    time.sleep(0.01)
    items.close()
    assert threads() == 0


def test_the_source_may_be_slow():
    def slow():
        for number in range(5):
            time.sleep(0.01)
            yield number

    items = ahead(slow(), 2)
    assert next(items) == 0
    items.close()
    assert threads() == 0
