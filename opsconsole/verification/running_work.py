"""Checks of the work that goes on by itself: schedules, the outbox, the senders of alerts and the seals."""

from __future__ import annotations

from alerts.models import Monitor
from alerts.watch import monitor_alerts
from jobs.models import Outbox
from jobs.watch import old_transactions
from opsconsole.cluster import failing_tasks, schedules, task_table
from opsconsole.kit.counting import exactly
from opsconsole.kit.models import ClusterProgress
from opsconsole.seals import checking, state, verification
from opsconsole.verification.check import Judgement, Problem, Wishes, of, unknown, wrong

MOST_NAMED = 5
MEND = "See the page Failed tasks, and its runbook: docs/runbooks/failing-tasks.md."
CLUSTER = "Start the cluster (run_cluster), and look into its log."


def schedules_run(_: Wishes) -> Judgement:
    """Tell whether each schedule is there, and whether what the cluster runs has succeeded lately."""
    return of(
        _problems_of_schedules(), fine="The cluster runs, and its sweeps and checks have succeeded in time."
    )


def _problems_of_schedules() -> list[Problem]:
    present = dict(schedules.ours().values_list("name", "repeats"))
    sync = "Run sync_schedules."
    wanted = {entry.full_name: entry.name for entry in task_table.table()}
    problems = _named("missing", [wanted[name] for name in wanted if name not in present], sync)
    paused = [
        wanted[name] for name, repeats in present.items() if name in wanted and repeats == schedules.PAUSED
    ]
    problems += _named("paused", paused, "Resume what is paused on the page Schedules.")
    if refused := schedules.refused().count():
        problems.append(Problem(f"{exactly(refused, 'schedule')} refused: not in the task table.", sync))
    if not ClusterProgress.objects.progressing().exists():
        problems.append(Problem("No task has come through a cluster lately.", CLUSTER))
    if monitor_alerts.is_late(monitor_alerts.SWEEP):
        problems.append(Problem("No sweep has ended in time.", CLUSTER))
    problems += [
        Problem(f"The task '{task.entry.name}' keeps failing: {task.sentence}.", MEND)
        for task in failing_tasks.failing()
    ]
    others = Monitor.objects.late().exclude(pk=monitor_alerts.SWEEP).values_list("pk", flat=True)
    problems += [Problem(f"The {name} is late.", CLUSTER) for name in others]
    return problems


def _named(state: str, names: list[str], action: str) -> list[Problem]:
    """Return one problem for all schedules in this state."""
    if not names:
        return []
    shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMED]) + (
        ", ..." if len(names) > MOST_NAMED else ""
    )
    return [Problem(f"{exactly(len(names), 'schedule')} {state}: {shown}.", action)]


def messages_are_sent(_: Wishes) -> Judgement:
    """Tell whether a message waits in the outbox that should have been sent by now."""
    stuck = Outbox.objects.stuck()
    if not (number := stuck.count()):
        return of([], fine="No message waits in the outbox for longer than it should.")
    error = stuck.exclude(last_error="").values_list("last_error", flat=True).first()
    why = f" The last answer: {error}" if error else ""
    return wrong(
        f"{exactly(number, 'message')} should have been sent by now.{why}",
        "Check that the dispatcher runs (run_cluster, or dispatch_outbox --loop) and SQS answers.",
    )


def dead_rows_are_removed(_: Wishes) -> Judgement:
    """Tell whether an old transaction keeps PostgreSQL from cleaning the tables of the queue."""
    obstacle = old_transactions.present()
    if obstacle.holder is None or (obstacle.age is not None and obstacle.age < old_transactions.LONG_AGO):
        return of([], fine="No old transaction keeps dead rows of the queue from being removed.")
    sentence = f"{obstacle.sentence[0].upper()}{obstacle.sentence[1:]}."
    if obstacle.age is None:
        return unknown(sentence, old_transactions.WHY_UNKNOWN)
    return wrong(sentence, f"See what it is for, and end it: {obstacle.holder.ending}")


def seals_hold(_: Wishes) -> Judgement:
    """Compare the newest sealed rows with their seals, and tell what was found before. ``verify_audit`` reads everything."""
    broken = dict.fromkeys([*verification.verify_recent().breaks, *checking.known_breaks()])
    advice = "Run verify_audit, which reads everything, and follow docs/runbooks/audit-broken.md."
    problems = [Problem(each.sentence, advice) for each in broken]
    if state.is_behind():
        problems.append(Problem(f"{state.BEHIND}.", state.WHEN_BEHIND))
    return of(problems, fine="The newest rows of the audit and the ledgers are as they were sealed.")
