"""The results of tasks: a row each, of which a group keeps its newest successes.

django-q2 asks four statements for it, and reads all successes of the group each time to see whether there are too many.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django_q.conf import Conf
from django_q.models import Success, Task

# At the first success of a group, and after so many, it is looked whether it has too many.
LOOK_EVERY = 25
UPDATED = ("started", "stopped", "result", "success", "attempt_count")

_since_look: Counter[str | None] = Counter()


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
    if task["success"]:
        _keep_newest(task.get("group"))


def _keep_newest(group: str | None) -> None:
    # Also at its first: a cluster that starts anew every day never has 25 of a task that runs each hour.
    if _since_look[group] % LOOK_EVERY == 0:
        successes = Success.objects.filter(group=group).order_by("-stopped")
        surplus = list(successes.values_list("pk", flat=True)[Conf.SAVE_LIMIT :])
        Success.objects.filter(pk__in=surplus).delete()
    _since_look[group] += 1
