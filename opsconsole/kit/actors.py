"""Actors in words: rows keep 'operator:ada' and 'worker:host-1' for programs, and people read 'ada' and 'worker host-1'."""

from __future__ import annotations

_OPERATOR, _WORKER, _API = "operator:", "worker:", "api:"


def in_words(actor: str) -> str:
    """Return the actor as people read it; whoever has no prefix, such as 'sweep', is called so."""
    if actor.startswith(_OPERATOR):
        return actor.removeprefix(_OPERATOR)
    if actor.startswith(_API):
        return f"API key {actor.removeprefix(_API)}"
    worker = worker_of(actor)
    # Many ids begin so, and 'worker worker-1' says no more.
    return worker if worker == actor or worker.lower().startswith("worker") else f"worker {worker}"


def worker_of(actor: str) -> str:
    """Return the id of the worker that an actor is."""
    return actor.removeprefix(_WORKER)
