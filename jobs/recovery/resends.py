"""The outlook of lost messages: whether sweeps send them again, and if not, why not. The one answer for everybody (I12)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings

from jobs.models.job import JobQuerySet
from jobs.models.worker import workers_are_seen
from jobs.recovery import outlook_wording
from jobs.recovery.surroundings import Stop, Surroundings

BEFORE_CUTOFF = "It has been waiting since before the cutoff, so no sweep sends its message again."
# What only a person does about a message that no sweep sends again.
BY_HAND = "Read the proof on the job's page, then cancel the job, and requeue it."


def why_none(around: Surroundings, *, resending: bool) -> str:
    """Say why the next sweep sends no lost message again; '' where nothing keeps it. ``resending``: see ``lost_messages``."""
    if not around.armed:
        return outlook_wording.of_stop(Stop.OBSERVING, around)
    if not resending:
        return f"No sweep sends a lost message again: {_why_forbidden()}."
    if around.stop:
        return f"{outlook_wording.of_stop(around.stop, around)} Until then no message is sent again."
    return ""


def needs_a_person(around: Surroundings, *, resending: bool) -> bool:
    """Tell whether waiting does not help: no sweep sends a lost message again until somebody decides."""
    return not (around.armed and resending)


def begun_since(jobs: JobQuerySet[Any], cutoff: datetime | None) -> JobQuerySet[Any]:
    """Return the waiting jobs whose message a sweep may send again."""
    return jobs.filter(updated_at__gte=cutoff) if cutoff else jobs


def begun_before(jobs: JobQuerySet[Any], cutoff: datetime | None) -> JobQuerySet[Any]:
    """Return the waiting jobs whose message sweeps leave to operators for their age."""
    return jobs.filter(updated_at__lt=cutoff) if cutoff else jobs.none()


def _why_forbidden() -> str:
    if settings.OPSCONSOLE_LOST_RESEND == "off":
        return "OPSCONSOLE_LOST_RESEND is off"
    if not workers_are_seen():
        return "workers may be there that send no heartbeats, and for them a second message may cause a second run"
    return "workers without epochs are seen, and for them a second message may cause a second run"
