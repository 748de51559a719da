"""Work of two kinds at once: the next item is made ready, and the last result written, while this one is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """make(item) for each item, in order; a thread makes the next one before it is asked for. An error is raised at its item."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Made] | None = None
        for item in items:
            ready, waiting = waiting, pool.submit(make, item)
            if ready is not None:
                yield ready.result()
        if waiting is not None:
            yield waiting.result()


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
