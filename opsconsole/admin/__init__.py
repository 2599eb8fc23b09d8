"""The pages that are no app's own: the audit, people, django-q2's tables, trends."""

from opsconsole.admin import (
    audit,
    data,
    identities,
    people,
    slack_people,
    switches,
    task_queue,
    trends,
    verification,
)

__all__ = [
    "audit",
    "data",
    "identities",
    "people",
    "slack_people",
    "switches",
    "task_queue",
    "trends",
    "verification",
]
