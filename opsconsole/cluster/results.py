"""The results of tasks: a row each, of which a group keeps its newest successes and its newest failures.

django-q2 asks four statements for it, and reads all successes of the group each time to see whether there are too many.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django_q.conf import Conf
from django_q.models import Task

# At the first success or failure of a group, and after so many, it is looked whether it has too many.
LOOK_EVERY = 25
# Failures were kept for ever once: many of them are deleted in parts.
MOST_DELETED = 5_000
UPDATED = ("started", "stopped", "result", "success", "attempt_count")

_since_look: Counter[tuple[str | None, bool]] = Counter()


def store(task: dict[str, Any]) -> None:
    """Store the result of a task. A task that was run again has the row of its last run."""
    if task["success"] and not task.get("save", True):
        return
    row = Task(
        **{
            name: task[name]
            for name in ("id", "name", "func", "args", "kwargs", "started", "stopped", "result")
        },
        group=task.get("group"),
        cluster=task.get("cluster"),
        success=task["success"],
        attempt_count=task.get("takes", 1),
    )
    Task.objects.bulk_create([row], update_conflicts=True, unique_fields=["id"], update_fields=UPDATED)
    _keep_newest(task.get("group"), success=task["success"])


def _keep_newest(group: str | None, *, success: bool) -> None:
    # Also at its first: a cluster that starts anew every day never has 25 of a task that runs each hour.
    if _since_look[group, success] % LOOK_EVERY == 0:
        alike = Task.objects.filter(group=group, success=success).order_by("-stopped")
        surplus = alike.values("pk")[Conf.SAVE_LIMIT :][:MOST_DELETED]
        Task.objects.filter(pk__in=surplus).delete()
    _since_look[group, success] += 1
