"""Work that a thread does ahead of whoever takes its results."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """The same items in the same order, taken from `items` by a thread that is at most `most` of them ahead.

    What `items` raises is raised here, after the items before it. The thread starts with the first item that is asked
    for, and has ended when this iterator has: at its end, at an error, or when it is closed.
    """
    waiting: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(most)
    stop = threading.Event()

    def take() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                waiting.put((item,))
                if stop.is_set():
                    return
        except BaseException as error:
            end = error
        waiting.put(end)

    thread = threading.Thread(target=take, name="ahead", daemon=True)
    thread.start()
    try:
        while isinstance(found := waiting.get(), tuple):
            yield found[0]
        if found is not None:
            raise found
    finally:
        stop.set()
        # Room for the item that the thread may be about to add: it finds out afterwards that no one wants more.
        while not waiting.empty():
            waiting.get()
        thread.join()
