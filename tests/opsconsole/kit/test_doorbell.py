"""Tests of the bell that ends the dispatcher's rest."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator

import pytest

from opsconsole.kit import alive, command_loops, doorbell


@pytest.fixture
def bell() -> Iterator[None]:
    with doorbell.hung():
        yield


@pytest.mark.usefixtures("bell")
def test_ring_before_somebody_waits_is_heard_once() -> None:
    doorbell.ring()
    doorbell.ring()
    assert doorbell.wait(60)
    assert not doorbell.wait(0)


@pytest.mark.usefixtures("bell")
def test_fork_rings_for_the_process_that_forked_it() -> None:
    ringer = multiprocessing.get_context("fork").Process(target=doorbell.ring)
    ringer.start()
    assert doorbell.wait(60)
    ringer.join()


@pytest.mark.usefixtures("bell")
def test_bell_that_nobody_hears_stops_nobody() -> None:
    for _ in range(100_000):
        doorbell.ring()
    assert doorbell.wait(60)
    assert not doorbell.wait(0)


def test_process_without_a_bell_rings_for_nobody() -> None:
    doorbell.ring()
    assert not doorbell.hangs()
    with pytest.raises(RuntimeError, match="has no bell"):
        doorbell.wait(0)


@pytest.mark.usefixtures("bell")
def test_only_who_asks_for_it_is_woken() -> None:
    stopped = threading.Event()
    life = alive.SignOfLife()
    doorbell.ring()
    command_loops.rest(0.001, life, stopped)
    assert doorbell.wait(0)
    doorbell.ring()
    command_loops.rest(3_600, life, stopped, or_rung=True)
    assert not doorbell.wait(0)
