"""The configuration of django-q2, as the settings pass it on. Nothing of it depends on the environment."""

from __future__ import annotations

from typing import Any

Q_CLUSTER: dict[str, Any] = {
    "name": "opsconsole",
    "orm": "default",
    # The shared queue, and a private queue per cluster through which its supervisor sees that it works.
    "broker_class": "opsconsole.cluster.broker.ProbedBroker",
    "workers": 2,
    "queue_limit": 2,
    "bulk": 1,
    "poll": 1,
    "timeout": 90,
    # A task is offered again only after its time limit and the guard's check have certainly passed.
    "retry": 150,
    # The next tick is the retry.
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    # With other values a task that ignores its time limit is never ended.
    "guard_cycle": 0.5,
    "save_limit": 250,
    "save_limit_per": "group",
    "recycle": 500,
    "label": "Schedules",
}
