"""Work of two kinds at once: the next item is made ready, and the last result written, while this one is worked on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], workers: int = 1) -> Iterator[Made]:
    """make(item) for each item, in order; so many threads make the next ones before they are asked for. An error is raised at its item."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Who stops asking does not wait for more than what is being made.
            for future in waiting:
                future.cancel()


@contextmanager
def behind(write: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """A function that calls `write` in a thread, one call after the other; errors are raised at the next call or at the end."""
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[Any]] = []

        def later(*arguments: Any) -> None:
            while waiting:
                waiting.pop().result()
            waiting.append(pool.submit(write, *arguments))

        yield later
        while waiting:
            waiting.pop().result()
