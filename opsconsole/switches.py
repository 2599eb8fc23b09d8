"""The table of what an operator can pause, and the texts that explain each pause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.recovery import recovery_alerts
from opsconsole.kit import pauses
from opsconsole.kit.display import clock_time
from opsconsole.kit.models import Pause
from opsconsole.kit.row_locks import locked


@dataclass(frozen=True)
class Switch:
    """Something that can be paused. ``paused`` and ``advice`` are the sentences of the banner during a pause."""

    name: str
    title: str
    meaning: str
    paused: str
    advice: str

    @property
    def did_pause(self) -> str:
        """Return what the audit says of a pause that began."""
        return f"{self.paused}."

    @property
    def did_extend(self) -> str:
        return f"{self.paused} for longer."

    @property
    def did_resume(self) -> str:
        return f"{self.title}: resumed."


def table() -> tuple[Switch, ...]:
    return (
        Switch(
            pauses.RECOVERY,
            "Automatic recovery",
            "Pause it for a deploy, when workers restart on purpose: meanwhile nothing is recovered or re-sent. Sweeps continue "
            "to look.",
            "Recovery is paused",
            "Runs that lost their worker wait until it is resumed.",
        ),
        Switch(
            pauses.DEAD_LETTER_CHECKS,
            "Checks of dead letters",
            "While these are paused, dead letter queues are not read, so that somebody else can work on them. New dead letters are "
            "not noticed, and what was decided about letters in these queues waits.",
            "Dead letters are not checked",
            "New ones are not noticed, and replays and discards wait.",
        ),
        *(_of_queue(name) for name in sorted(settings.QUEUES)),
    )


def _of_queue(name: str) -> Switch:
    return Switch(
        pauses.of_queue(name),
        f"Queue {name}",
        "While it is paused, workers that use the console's library finish their current run and take no new one. Other workers "
        "are not affected.",
        f"Queue {name} is paused",
        "Its workers take nothing new.",
    )


def find(name: str) -> Switch | None:
    return next((switch for switch in table() if switch.name == name), None)


def title_of(name: str) -> str:
    """Return what is paused in words, also where it is a queue that is no longer configured."""
    switch = find(name)
    if switch:
        return switch.title
    return _of_queue(name.removeprefix(pauses.QUEUE)).title if name.startswith(pauses.QUEUE) else name


def in_force(pauses_now: Iterable[Pause] | None = None) -> list[tuple[Switch, Pause]]:
    """Return what is paused now, in the table's order; queues that are no longer configured are left out.

    ``pauses_now``: the rows of ``active()``, if the caller has read them.
    """
    held = {pause.name: pause for pause in (active() if pauses_now is None else pauses_now)}
    return [(switch, held[switch.name]) for switch in table() if switch.name in held]


def active() -> QuerySet[Pause]:
    return Pause.objects.active().annotate(db_now=Now())


def locked_state(switch: Switch) -> Pause | None:
    """Return the pause that is in force, which nobody else changes until the transaction ends."""
    pauses.take_turns()
    return locked(active().filter(name=switch.name)).first()


def pause(
    switch: Switch, *, by: str, reason: str, lasting: timedelta | None = None, shorten: bool = False
) -> Pause:
    """Pause it; see ``pauses.begin``, also for what is refused."""
    with transaction.atomic():
        begun = pauses.begin(switch.name, by=by, reason=reason, lasting=lasting, shorten=shorten)
        _retell(switch)
        return begun


def resume(switch: Switch, *, by: str, reason: str) -> Pause | None:
    """Resume it; see ``pauses.end``."""
    with transaction.atomic():
        ended = pauses.end(switch.name, by=by, reason=reason)
        _retell(switch)
        return ended


def _retell(switch: Switch) -> None:
    """Let an alert say what recovery does now."""
    if switch.name == pauses.RECOVERY:
        recovery_alerts.retell()


def sentence(switch: Switch, pause: Pause) -> str:
    """Describe a pause, such as 'Recovery is paused until 12:40:00 UTC by olga: “deploy 1.4”.'"""
    until = f" until {clock_time(pause.until)}" if pause.until else ""
    return f"{switch.paused}{until} by {pause.began_by}: “{pause.reason}”."
