"""Batches that are made ahead: in order, no further than asked, and an error where its batch would have come."""

from __future__ import annotations

import threading

import pytest

from faceworkbook.training.ahead import make_ahead


def test_they_come_in_order_and_are_made_by_one_thread():
    threads = set()

    def numbers():
        for i in range(20):
            threads.add(threading.current_thread())
            yield i

    assert list(make_ahead(numbers())) == [*range(20)]
    assert len(threads) == 1 and threading.current_thread() not in threads
    assert list(make_ahead(iter(()))) == []


def test_the_next_ones_are_made_while_one_is_in_use_and_no_more():
    made, second = [], threading.Semaphore(0)

    def numbers():
        for i in range(6):
            made.append(i)
            second.release()
            yield i

    batches = make_ahead(numbers(), depth=2)
    assert next(batches) == 0
    for _ in range(3):  # ends only if two are made beside the one in use
        second.acquire()
    assert made == [0, 1, 2]
    batches.close()
    assert made == [0, 1, 2]


def test_an_error_is_raised_where_its_element_would_have_come():
    def numbers():
        yield 0
        yield 1
        raise KeyError("third")

    batches, seen = make_ahead(numbers()), []
    with pytest.raises(KeyError, match="third"):
        for batch in batches:
            seen.append(batch)
    assert seen == [0, 1]
