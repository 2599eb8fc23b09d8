"""The scheduled tasks of the jobs app (``opsconsole.cluster.task_table``). Each returns a line for the task's record."""

from __future__ import annotations

from alerts import notify
from alerts.watch import monitor_alerts
from jobs.bulk import chunks, runner_leases
from jobs.dead_letters import check, fulfilment
from jobs.messaging import dispatcher, queue_depths
from jobs.recovery import sweeps
from jobs.restores import signs
from jobs.watch import event_partitions, gauges, hourly_counts, retention
from jobs.watch.batched_deletes import KeptRows
from opsconsole.kit import figures, removals
from opsconsole.kit.intervals import EACH_MINUTE


def sweep() -> str:
    row = sweeps.sweep("schedule")
    return f"{row}: {row.totals}"


def dispatch() -> str:
    return str(dispatcher.dispatch())


def refresh_queues() -> None:
    queue_depths.refresh_queue_states()
    notify.monitor_ok("reading of queues", EACH_MINUTE)


def watch() -> str:
    measured = gauges.watch()
    notify.monitor_ok("watch of figures", EACH_MINUTE)
    return f"{measured}, {signs.watch()}"


def bulk() -> str:
    """Work on due bulk operations for one slice of time; the rest is queued behind other waiting tasks."""
    if chunks.run():
        runner_leases.wake()
        return "there is more to do"
    return "nothing is due"


def prune() -> str:
    deleted = retention.prune(kept := KeptRows()) | {"figures": figures.prune()}
    removals.tell(deleted)
    removals.prune()
    deleted_rows = [f"{name}: {count}" for name, count in deleted.items()]
    return ", ".join(
        [*deleted_rows, f"event partitions: {event_partitions.create_missing()}", *kept.sentences]
    )


def count_hours() -> str:
    counted = hourly_counts.count()
    notify.monitor_ok(monitor_alerts.CHARTS, EACH_MINUTE)
    return f"{counted} figures"


def check_dead_letters() -> str:
    return "; ".join(map(str, check.check())) or "no dead letter queue is configured"


def work_dead_letters() -> str:
    return str(fulfilment.work())
