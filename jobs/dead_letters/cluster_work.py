"""Work on dead letters that the cluster is asked to do now, instead of with its next schedule."""

from __future__ import annotations

from django_q.tasks import async_task

_GROUP = "dead letters"


def ask_to_fulfil() -> None:
    """Ask the cluster to carry out what operators decided about dead letters; see ``jobs.dead_letters.fulfilment``."""
    async_task("jobs.tasks.work_dead_letters", group=_GROUP)


def ask_to_check() -> None:
    """Ask the cluster to read the dead letter queues."""
    async_task("jobs.tasks.check_dead_letters", group=_GROUP)
