import threading

import pytest

from cmrrecon.tools.prefetch import ahead, behind


def test_results_keep_their_order_and_the_next_is_computed_ahead():
    made, second = [], threading.Event()

    def make(item):
        made.append(item)
        if item == 2:
            second.set()
        return 10 * item

    items = ahead(make, [1, 2, 3])
    assert next(items) == 10
    assert second.wait(5)
    assert list(items) == [20, 30]
    assert made == [1, 2, 3]
    assert list(ahead(make, [])) == []


def test_an_error_is_raised_when_its_item_is_due():
    def make(item):
        if item == 2:
            raise ValueError("two")
        return item

    items = ahead(make, [1, 2, 3])
    assert next(items) == 1
    with pytest.raises(ValueError, match="two"):
        next(items)


def test_results_are_written_in_order_in_another_thread():
    written = []
    with behind(lambda *words: written.append((words, threading.get_ident()))) as write:
        for number in range(5):
            write(number, str(number))
    assert [words for words, _ in written] == [(n, str(n)) for n in range(5)]
    assert {thread for _, thread in written} != {threading.get_ident()}


def test_a_write_error_is_not_lost():
    def fail(number):
        raise OSError(number)

    with pytest.raises(OSError, match="1"), behind(fail) as write:
        write(1)
