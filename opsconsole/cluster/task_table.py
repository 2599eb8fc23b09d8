"""The table of the functions that the cluster runs. It runs no others, whatever the database names.

It imports no model, so that settings can be read beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from opsconsole.kit import intervals

PREFIX = "opsconsole: "
PROBE = "opsconsole.cluster.tasks.tick"
# The largest file that is exported, 5 GB, takes a third of it on a quiet machine.
MONTH_SECONDS = 6 * 60 * 60
# Queued by the console itself, and never by a schedule.
UNSCHEDULED = frozenset({PROBE})


@dataclass(frozen=True)
class ScheduledTask:
    """A scheduled task. ``task`` is called without arguments every ``minutes``; ``why`` explains it to readers of the table.

    ``seconds`` is how long a run may take that needs more than django-q2's ``timeout``. It has a worker beside those of the others.
    """

    name: str
    task: str
    minutes: int
    why: str
    seconds: int | None = None

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


_FIXED = (
    ScheduledTask(
        "dispatch", "jobs.tasks.dispatch", 1, "send messages when the dispatcher's loop is not running"
    ),
    ScheduledTask("queues", "jobs.tasks.refresh_queues", 1, "read the depth of each queue"),
    ScheduledTask("hours", "jobs.tasks.count_hours", 1, "count how jobs ended, for the charts"),
    ScheduledTask(
        "work dead letters",
        "jobs.tasks.work_dead_letters",
        1,
        "replay and discard dead letters as operators decided",
    ),
    ScheduledTask(
        "bulk operations",
        "jobs.tasks.bulk",
        1,
        "carry out bulk operations, and resume them after a crash",
    ),
    ScheduledTask("watch", "jobs.tasks.watch", 1, "measure the figures that alert rules evaluate"),
    ScheduledTask("prune", "jobs.tasks.prune", 60, "delete rows whose retention has ended"),
    ScheduledTask("alerts", "alerts.tasks.send", 1, "send alerts when the sender's loop is not running"),
    ScheduledTask(
        "monitors",
        "opsconsole.cluster.tasks.judge",
        1,
        "alert when a sweep or a check is late, or a task keeps failing",
    ),
    ScheduledTask("alert history", "alerts.tasks.prune", 60, "delete alerts that were resolved long ago"),
    ScheduledTask(
        "dead man",
        "alerts.watch.deadman.ping_due",
        1,
        "ping the dead-man's switch",
    ),
    ScheduledTask(
        "seals", "opsconsole.seals.tasks.seal", 1, "seal the audit and the timelines, and check the seals"
    ),
    ScheduledTask(
        "trends", "opsconsole.trends.tasks.count", 1, "count how long runs waited and ran, for the trends"
    ),
    ScheduledTask("limits watch", "ratelimits.tasks.watch", 1, "measure how many requests were refused"),
    ScheduledTask("rate limits", "ratelimits.tasks.cleanup", 10, "delete records older than an hour"),
    ScheduledTask(
        "event months",
        "opsconsole.retention.tasks.drop_months",
        60,
        "export and drop months of the timeline whose retention has ended",
        MONTH_SECONDS,
    ),
    ScheduledTask(
        "audit lines",
        "opsconsole.retention.tasks.delete_audit_lines",
        60,
        "delete lines of the audit whose retention has ended",
    ),
    ScheduledTask(
        "table sizes",
        "opsconsole.retention.tasks.sample_sizes",
        60,
        "keep the sizes of tables once a day, for their growth",
    ),
    ScheduledTask(
        "log-ins",
        "opsconsole.cluster.tasks.delete_outdated_log_ins",
        60,
        "delete sessions that have ended and failed logins that no longer count",
    ),
)


def table() -> tuple[ScheduledTask, ...]:
    """Return what is scheduled now. An entry without minutes is served by a loop beside the cluster, and is left out."""
    return tuple(entry for entry in every_entry() if entry.minutes)


def may_run(function: object) -> bool:
    """Tell whether the cluster runs the function of this dotted name."""
    return isinstance(function, str) and (
        function in UNSCHEDULED or any(function == entry.task for entry in every_entry())
    )


def seconds_of(function: object) -> int | None:
    """Return how long the function of this dotted name may take, where that is longer than all others may."""
    return next((entry.seconds for entry in every_entry() if entry.task == function), None)


def every_entry() -> tuple[ScheduledTask, ...]:
    """Return the whole table, also what a loop beside the cluster serves."""
    return (*with_own_interval(), *_FIXED)


def with_own_interval() -> tuple[ScheduledTask, ScheduledTask]:
    """Return the entries whose interval is a setting."""
    return (
        ScheduledTask(
            "sweep", "jobs.tasks.sweep", intervals.of_sweeps().minutes, "recover runs whose worker died"
        ),
        ScheduledTask(
            "check dead letters",
            "jobs.tasks.check_dead_letters",
            intervals.of_dead_letter_checks().minutes,
            "find new dead letters and alert about them",
        ),
    )
