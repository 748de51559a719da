"""Prepare the next item and write the last result in threads while the current one is computed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], workers: int = 1) -> Iterator[Made]:
    """Yield `make(item)` for each item in order, computing the next ones ahead in threads.

    Parameters
    ----------
    make : callable
        Called with each item in a thread. Its error is raised when that item's turn comes.
    items : iterable
        The items.
    workers : int
        The number of threads, and of items computed ahead.

    Yields
    ------
    Made
        The results, in the order of the items.
    """
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
            # If the caller stops early, wait only for the items already being computed.
            for future in waiting:
                future.cancel()


@contextmanager
def behind(write: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """Yield a function that calls `write` in a thread, one call after another.

    Parameters
    ----------
    write : callable
        Called with the arguments of the yielded function.

    Yields
    ------
    callable
        The function. It returns once the previous call has finished. Errors are raised at the next
        call, or at the end of the block.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[Any]] = []

        def later(*arguments: Any) -> None:
            while waiting:
                waiting.pop().result()
            waiting.append(pool.submit(write, *arguments))

        yield later
        while waiting:
            waiting.pop().result()
