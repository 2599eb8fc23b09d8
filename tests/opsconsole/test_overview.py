"""Tests of the overview: one true sentence per problem, the most urgent first."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from alerts import notify
from alerts.catalog import RULES
from alerts.models import Alert, Monitor
from alerts.notify import Trouble
from alerts.sending import banner
from alerts.sending.banner import Banner
from jobs.models import Outbox, QueueState, RecoveryControl, Status, Sweep
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import sweeps
from jobs.recovery.decision import Policy
from jobs.recovery.surroundings import Surroundings
from jobs.watch import run_gauges
from opsconsole import overview
from opsconsole.kit import counting, figures, pauses
from opsconsole.overview import Overview, current_figures
from opsconsole.overview.firing import FiringAlert, FiringRule
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, beat, dead_letter_queue, job, letter, run
from tests.page_costs import fewest_statements

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def swept(ago: timedelta) -> Sweep:
    return Sweep(started_at=NOW - ago, finished_at=NOW - ago)


WELL = Overview(
    read_at=NOW,
    stale=0,
    hung=0,
    running=3,
    waiting=2,
    quarantined=0,
    failed=4,
    unsent=1,
    overdue=0,
    workers_alive=3,
    workers_silent=0,
    workers_dead=1,
    last_sweep=swept(timedelta(minutes=1)),
    sweep_is_late=False,
    unread_queues=(),
)
ARMED = Surroundings(
    read_at=NOW,
    armed=True,
    policy=Policy(max_recoveries=3, queues=frozenset({"default"}), cutoff=None, forgiven_before=None),
    last_sweep_at=NOW - timedelta(minutes=1),
)
OBSERVING = replace(ARMED, armed=False)
HELD = replace(ARMED, hold_started_at=NOW - HOUR, hold_until=NOW + HOUR, mass=20)


def sentences(seen: Overview, around: Surroundings = ARMED) -> list[str]:
    return [finding.sentence for finding in overview.findings(seen, around)]


def test_healthy_console_has_no_findings() -> None:
    assert sentences(WELL) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stale": 1}, "1 run lost its worker."),
        ({"stale": 2}, "2 runs lost their worker."),
        ({"stale": overview.COUNTED_TO + 1}, "10,000+ runs lost their worker."),
        ({"stale_before_cutoff": 1}, "1 run from before the cutoff is stale."),
        ({"stale_before_cutoff": 2}, "2 runs from before the cutoff are stale."),
        ({"stale_by_hand": 1}, "1 run lost its worker and waits for an operator."),
        ({"stale_by_hand": 2}, "2 runs lost their worker and wait for an operator."),
        ({"stale_unknown_queue": 1}, "1 run of queues that are not configured is stale."),
        ({"quarantined": 3}, "3 jobs in quarantine."),
        ({"hung": 1}, "1 run past the deadline."),
        ({"overdue": 1}, "1 message should have been sent by now."),
        ({"unread_queues": ("default", "slow")}, "Queue default, slow can't be read."),
        ({"last_sweep": None, "sweep_is_late": True}, "No sweep has ended yet."),
        ({"last_sweep": swept(timedelta(minutes=7)), "sweep_is_late": True}, "No sweep has ended for 7 min."),
        ({"without_workers": 2}, "2 jobs wait and no worker is alive."),
        ({"lost": 2}, "2 jobs waiting for a lost message."),
        ({"in_vain": 1}, "1 job still waiting after 3 re-sends of the message."),
    ],
)
def test_each_problem_has_its_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert sentences(replace(WELL, **changes)) == [sentence]


def test_advice_on_quarantine_is_possible(db: None) -> None:
    """Advise release, because a quarantined job cannot be cancelled."""
    [finding] = overview.findings(replace(WELL, quarantined=1), ARMED)
    quarantined = job(status="quarantined")
    for action in JobAction:
        [step] = job_operations.plan(action, [quarantined.pk])
        assert step.will is (action.value in finding.advice), action


@pytest.mark.parametrize(("finding", "action"), [({"lost": 1}, "cancel"), ({"in_vain": 1}, "cancel")])
def test_advice_on_lost_message_is_possible(db: None, finding: dict[str, Any], action: str) -> None:
    [found] = overview.findings(replace(WELL, **finding), ARMED)
    assert action in found.advice
    [step] = job_operations.plan(JobAction.CANCEL, [job().pk])
    assert step.will


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("resend", "mode", "told"), [("on", "armed", 0), ("off", "armed", 1), ("on", "observe", 1)]
)
def test_lost_message_is_shown_when_no_sweep_resends_it(
    settings: Any, resend: str, mode: str, told: int
) -> None:
    overview.memory.clear()
    settings.OPSCONSOLE_LOST_RESEND = resend
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    RecoveryControl.objects.update(mode=mode)
    QueueState.objects.create(name="default", visible=0, in_flight=0, delayed=0, read_at=Now())
    letter(job(updated_at=Now() - HOUR), state=Outbox.State.SENT, sent_at=Now() - HOUR)
    letter(job(updated_at=Now() - HOUR), state=Outbox.State.SENT, sent_at=Now() - HOUR, resends=3)

    seen = overview.read()

    assert (seen.lost, seen.in_vain) == (told, 1)


def test_observing_and_holding_come_first() -> None:
    troubled = replace(WELL, stale=2, quarantined=1, overdue=1)

    assert sentences(troubled, OBSERVING)[0] == "Recovery only observes: 2 runs lost their worker."
    assert sentences(troubled, HELD)[0] == "Recovery is held: 20 runs went silent at once."
    begins = replace(HELD, hold_until=None)
    first = overview.findings(troubled, begins)[0]
    assert first.sentence == "20 runs went silent at once: the next sweep holds recovery."
    assert (
        first.advice
        == "Check whether the workers are alive. Once recovery is held, you can release the hold."
    )
    assert " ".join(sentences(troubled, OBSERVING)).count("lost their worker") == 1, "one thing is said once"


@pytest.mark.parametrize("away", [{"schedule_paused": True}, {"last_sweep_at": NOW - HOUR}])
def test_nothing_is_called_held_while_no_sweep_runs(away: dict[str, Any]) -> None:
    for held in (HELD, replace(HELD, hold_until=None)):
        told = overview.findings(replace(WELL, stale=2), replace(held, **away))
        assert not any("held" in each.sentence or "next sweep" in each.sentence for each in told)


def test_advice_on_unknown_runs_knows_the_rule() -> None:
    unknown = replace(WELL, unknown=2)
    [without] = overview.findings(unknown, ARMED)
    assert without.advice == (
        "Unknown runs are left to operators. See whether the workers run, then requeue by hand, "
        "or choose a rule for unknown runs on the page Recovery."
    )
    rule: dict[str, Any] = {"unknown_rule": RecoveryControl.UnknownRule.AFTER, "unknown_after": 2 * HOUR}
    for around in (ARMED, replace(ARMED, paused=True), replace(ARMED, last_sweep_at=NOW - HOUR)):
        [chosen] = overview.findings(unknown, replace(around, **rule))
        assert chosen.advice == (
            "Unknown runs count as stale after 2 h of silence. See whether the workers run, then requeue by hand."
        )


def test_paused_schedule_is_named_as_the_cause_of_late_sweeps() -> None:
    late = replace(WELL, sweep_is_late=True)
    [paused] = overview.findings(late, replace(ARMED, schedule_paused=True))
    assert "The schedule of sweeps is paused" in paused.advice
    assert "run_cluster" not in paused.advice
    [away] = overview.findings(late, ARMED)
    assert "run_cluster" in away.advice


def test_ended_hold_is_not_shown() -> None:
    assert sentences(WELL, replace(HELD, hold_until=NOW - SECOND)) == []
    assert sentences(WELL, replace(HELD, mass=0)) == [], "too few are silent, the next sweep ends it"


@pytest.mark.parametrize(
    ("around", "advice"),
    [
        (ARMED, "The next sweep recovers what may be recovered. Sweeps run every 2 min."),
        (
            replace(ARMED, paused=True),
            "Recovery is paused until somebody resumes it. Sweeps recover nothing before that.",
        ),
        (
            replace(ARMED, last_sweep_at=NOW - HOUR),
            (
                "No sweep has ended for 1 h, so nothing is recovered. "
                "Once sweeps run again, silence counts from the first of them."
            ),
        ),
        (
            replace(ARMED, schedule_paused=True),
            "The schedule of sweeps is paused: nothing is recovered automatically until somebody resumes it.",
        ),
    ],
)
def test_stale_runs_are_shown_with_what_sweeps_do(around: Surroundings, advice: str) -> None:
    [finding] = overview.findings(replace(WELL, stale=1), around)
    assert finding.advice == advice


@pytest.mark.django_db
def test_headline_promises_no_recovery_during_a_pause(client: Any, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED)
    Sweep.objects.create(trigger="schedule", mode="armed", finished_at=Now())
    run(age=2 * HOUR, silent=HOUR)
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy")
    overview.memory.clear()
    client.force_login(people.operator())

    page = client.get(reverse("admin:index")).content.decode()

    assert "1 run lost its worker." in page
    assert "Recovery is paused until somebody resumes it. Sweeps recover nothing before that." in page
    assert "next sweep" not in page
    assert sweeps.sweep("test").requeued == 0


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["armed", "observe"])
def test_runs_left_to_operators_are_counted_separately(settings: Any, mode: str) -> None:
    """Count these runs as the recovery page lists them, armed or not."""
    urls = {"default": "https://sqs.fake/jobs", "paid": "https://sqs.fake/paid"}
    settings.QUEUES = {name: QueueConfig(name, url, None) for name, url in urls.items()}
    settings.OPSCONSOLE_RECOVERY_BY_HAND = ("paid",)
    overview.memory.clear()
    RecoveryControl.objects.update(mode=mode, cutoff=Now() - 3 * HOUR)
    run(age=2 * HOUR, silent=HOUR, worker="new")
    for number in range(2):
        run(age=4 * HOUR, silent=HOUR, worker=f"old-{number}")
    run(age=4 * HOUR, silent=HOUR, worker="old-gone", queue="gone")
    run(age=2 * HOUR, silent=HOUR, worker="gone", queue="gone")
    run(age=2 * HOUR, silent=HOUR, worker="paid", queue="paid")
    # Nobody knows whether these are alive.
    QueueState.objects.create(name="default", visibility_timeout_seconds=60, visible=9, read_at=Now())
    for age in (2 * HOUR, 4 * HOUR, 4 * HOUR):
        run(age=age, claimed=False)

    seen = overview.read()

    assert (seen.stale, seen.stale_before_cutoff, seen.stale_unknown_queue, seen.stale_by_hand) == (
        1,
        3,
        1,
        1,
    )
    assert seen.stale_in_all == 6
    # What a finding counts is what its list shows.
    operator = Client()
    operator.force_login(people.operator())
    counted = {"recoverable": 1, "before_cutoff": 3, "unknown_queue": 1, "by_hand": 1, "any": 6} | {
        "unknown_since_cutoff": seen.unknown,
        "unknown_before_cutoff": seen.unknown_before_cutoff,
        "unknown": 3,
    }
    assert (seen.unknown, seen.unknown_before_cutoff) == (1, 2)
    assert run_gauges.unknown_runs().value == 1
    assert "?stale=unknown_since_cutoff" in run_gauges.unknown_runs().words.link
    for part, number in counted.items():
        shown = operator.get(reverse("admin:jobs_job_changelist"), {"stale": part})
        assert len(shown.context["cl"].result_list) == number, part
    told = overview.findings(seen, ARMED)
    RecoveryControl.objects.update(cutoff=None)
    settings.OPSCONSOLE_RECOVERY_BY_HAND = ()
    for part in ("before_cutoff", "by_hand", "unknown_before_cutoff"):
        shown = operator.get(reverse("admin:jobs_job_changelist"), {"stale": part})
        assert list(shown.context["cl"].result_list) == [], part
    opened = {each.query for each in told if "stale=" in each.query}
    assert opened == {f"?stale={part}" for part in counted if part not in {"any", "unknown"}}


@pytest.mark.django_db
def test_figures_are_those_of_the_database(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    overview.memory.clear()
    run(age=2 * HOUR, silent=HOUR, worker="dead")
    run(age=2 * HOUR, silent=SECOND, worker="hung")
    run(age=60 * SECOND, silent=SECOND, worker="fine")
    letter(job(), due=HOUR)
    letter(job(), due=SECOND)
    letter(job(), state=Outbox.State.SENT, due=HOUR)
    job(status=Status.QUARANTINED)
    job(status=Status.FAILED)
    job(status=Status.FAILED, updated_at=Now() - 25 * HOUR)
    beat("quiet", ago=timedelta(minutes=2))
    QueueState.objects.create(name="default", error="AccessDenied")
    QueueState.objects.create(name="well", read_at=Now())
    Sweep.objects.create(trigger="t", mode="armed", started_at=Now() - HOUR, finished_at=Now() - HOUR)
    Sweep.objects.create(trigger="t", mode="armed")

    seen = overview.read()

    assert (seen.stale, seen.hung, seen.running, seen.waiting) == (1, 1, 3, 3)
    assert (seen.quarantined, seen.failed) == (1, 1)
    assert (seen.unsent, seen.overdue) == (2, 1)
    assert (seen.workers_alive, seen.workers_silent, seen.workers_dead) == (2, 1, 1)
    assert seen.unread_queues == ("default",)
    assert seen.sweep_age is not None
    assert HOUR <= seen.sweep_age < HOUR + timedelta(minutes=1)


@pytest.mark.django_db
def test_figures_are_cached_briefly(django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_figures, "KEPT_SECONDS", 3_600)
    overview.read()
    job()

    with django_assert_num_queries(0):
        assert overview.read().waiting == 0


@pytest.mark.django_db
def test_page_asks_at_most_twelve_statements_when_nothing_is_cached(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED)
    for _ in range(25):
        run(age=HOUR, silent=HOUR)
    for kind in ("pending", "failed"):
        job(status=kind)
    beat("worker-2")

    def statements() -> list[str]:
        overview.memory.clear()
        with CaptureQueriesContext(connection) as queries:
            assert client.get(reverse("admin:index")).status_code == 200
        # Only in the transaction of a test, parts of the page are savepoints, and a time limit does not end by itself.
        of_tests = ("SAVEPOINT", "RELEASE", "SELECT set_config('statement_timeout', '0'")
        return [query["sql"] for query in queries if not query["sql"].startswith(of_tests)]

    # One of several requests may also judge the monitors or read the policies.
    fewest = min((statements() for _ in range(3)), key=len)
    assert len(fewest) <= 12, "\n".join(each[:120] for each in fewest)


@pytest.mark.django_db
def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    overview.memory.clear()
    monkeypatch.setattr(counting, "COUNTED_TO", 2)
    for _ in range(5):
        job()

    assert overview.read().waiting == 3
    assert overview.figure(3) == "2+"
    assert overview.figure(2) == "2"


@pytest.mark.django_db
def test_dead_letter_queue_that_is_not_read_is_unknown_and_not_empty(settings: Any) -> None:
    url = "https://sqs.fake/dead"
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", url)}
    overview.memory.clear()
    assert overview.read().dead_letters is None

    dlq = dead_letter_queue(url=url, visible=2, in_flight=1, delayed=0, read_at=Now())
    overview.memory.clear()
    assert overview.read().dead_letters == 3

    dlq.error = "AccessDenied"
    dlq.save()
    overview.memory.clear()
    assert overview.read().dead_letters is None


@pytest.mark.django_db
def test_longest_wait_is_that_of_first_job_in_queue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    job(updated_at=Now() - HOUR)
    job()
    job(updated_at=Now() - 3 * HOUR, not_before=Now() + HOUR)
    overview.memory.clear()

    wait = overview.read().oldest_wait

    assert wait is not None
    assert HOUR <= wait < HOUR + timedelta(minutes=1)


@pytest.mark.django_db
def test_sweeps_that_leave_the_same_runs_alone_are_told_once() -> None:
    overview.memory.clear()
    numbers = [
        {"found": 1, "skipped": 1},
        {"found": 2, "skipped": 1, "requeued": 1},
        {"found": 1, "skipped": 1},
        {"found": 1, "skipped": 1},
        {},
        {"found": 2, "skipped": 2},
        {"found": 2, "skipped": 2},
    ]
    for minutes, found in enumerate(reversed(numbers)):
        at = Now() - HOUR + minutes * timedelta(minutes=1)
        Sweep.objects.create(
            trigger="schedule", mode=Sweep.Mode.ARMED, started_at=at, finished_at=at, **found
        )

    happened = [each for each in overview.history().happened if each.page == "jobs_sweep"]

    assert [each.what.removeprefix("A sweep found ") for each in happened] == [
        "2 stale runs, requeued 1, quarantined 0, 1 skipped",
        "1 stale run, requeued 0, quarantined 0, 1 skipped",
        "2 stale runs, requeued 0, quarantined 0, 2 skipped",
    ]


@pytest.mark.django_db
def test_only_so_many_newest_sweeps_are_searched() -> None:
    at = Now() - HOUR
    for found in ({"found": 1, "requeued": 1}, {"found": 1, "skipped": 1}, {"found": 1, "skipped": 1}):
        # Two may begin at once.
        Sweep.objects.create(
            trigger="schedule", mode=Sweep.Mode.ARMED, started_at=at, finished_at=at, **found
        )
    Sweep.objects.create(trigger="schedule", mode=Sweep.Mode.ARMED, started_at=Now(), found=1, requeued=1)
    Sweep.objects.create(
        trigger="schedule", mode=Sweep.Mode.OBSERVE, started_at=Now(), finished_at=Now(), found=1, skipped=1
    )

    def told(among: int) -> list[tuple[str, int]]:
        return list(Sweep.objects.worth_telling(among).values_list("mode", "requeued"))

    # The oldest of those that are searched is told, because the one before it is not known.
    assert told(1) == [("observe", 0)]
    assert told(200) == [("observe", 0), ("armed", 0), ("armed", 1)]


@pytest.mark.django_db
def test_monitors_and_late_monitors() -> None:
    Monitor.objects.create(name="sweep", interval=HOUR)
    Monitor.objects.create(name="check", interval=HOUR, last_ok_at=Now() - 3 * HOUR)
    overview.memory.clear()

    assert [(each.name, each.late) for each in overview.history().watches] == [
        ("check", True),
        ("sweep", False),
    ]


@pytest.mark.django_db
def test_ages_are_by_the_clock_of_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(people.viewer())
    Monitor.objects.create(name="sweep", interval=HOUR)
    Alert.objects.create(
        title="Too many", fingerprint="x", severity=Alert.Severity.WARNING, since=Now() - HOUR
    )
    overview.memory.clear()
    # The clock of this host is an hour behind.
    monkeypatch.setattr("opsconsole.kit.display.timezone.now", lambda: datetime.now(UTC) - HOUR)

    shown = client.get(reverse("admin:index")).text

    for heading, age in (("Monitors", "0 s ago"), ("What the console did", "1 h ago")):
        _, _, section = shown.partition(f">{heading}</h2>")
        assert age in re.sub("<[^>]+>", "", section.partition("</section>")[0]).replace("\xa0", " ")


@pytest.mark.django_db
def test_hours_without_a_reading_of_the_dead_letters_are_unknown() -> None:
    figures.raise_to("dead letters", 4)
    overview.memory.clear()

    chart = overview.history().charts[-1].chart

    shown = [row[1] for row in chart.rows]
    # In the last hour, or in the one before if that has just ended.
    assert "4" in shown[-2:] and shown.count("unknown") == 23
    assert "Unknown in 23 of 24 hours." in chart.summary
    assert len(chart.bars) == 1


@pytest.mark.django_db
def test_cached_page_takes_few_queries(client: Any) -> None:
    client.force_login(people.operator())
    overview.memory.clear()

    asked = fewest_statements(client, reverse("admin:index"))

    assert len(asked) < 12, asked


def alone(*alerts: FiringAlert) -> tuple[FiringRule, ...]:
    """Return each alert as the only one of its rule."""
    return tuple(FiringRule(each.rule, 1, each.severity, (each,)) for each in alerts)


CRITICAL = FiringAlert(7, "The database was restored or failed over", "critical", "database_restored")
NOBODY = Banner("Nobody is told about alerts: no channel is set.", "Set one.", nobody=True)


def test_critical_alert_comes_first_then_that_nobody_can_be_told() -> None:
    warning = FiringAlert(8, "2 jobs in quarantine", "warning", "quarantined_jobs")
    late = FiringAlert(9, "Many requests refused", "warning", "limited_requests_hour")
    seen = replace(
        WELL, stale=2, quarantined=3, firing=3, firing_rules=alone(CRITICAL, warning, late), untold=NOBODY
    )
    assert sentences(seen) == [
        "The database was restored or failed over.",
        "Nobody is told about alerts: no channel is set.",
        "2 runs lost their worker.",
        # Its alert was told of two; the figure of now is said, once.
        "3 jobs in quarantine.",
        "Many requests refused.",
    ]


def test_critical_alert_about_a_figure_moves_its_finding_to_the_front() -> None:
    alert = FiringAlert(7, "40 messages should have been sent by now", "critical", "outbox_stuck")
    seen = replace(WELL, overdue=41, sweep_is_late=True, firing=1, firing_rules=alone(alert), untold=NOBODY)
    assert sentences(seen)[:2] == ["41 messages should have been sent by now.", NOBODY.sentence]
    assert overview.findings(seen, ARMED)[0].tone == "bad"


@pytest.mark.django_db
def test_of_rules_that_harm_alike_the_one_that_fired_last_comes_first() -> None:
    for rule, title in (("dead_letters_expiring", "an older one"), ("dlq_not_empty", "the newest")):
        notify.measure(rule, 1, Trouble(title=title), scope="default")

    overview.memory.clear()

    assert [each.rule for each in overview.read().firing_rules] == ["dlq_not_empty", "dead_letters_expiring"]


@pytest.mark.django_db
def test_everything_that_fires_is_named(client: Client) -> None:
    """Many alerts of a rule are one line, which opens exactly those."""
    for number in range(12):
        notify.fire(f"queue_unreadable:q{number:02}", Trouble(title=f"q{number:02}", severity="warning"))
    for queue in ("letters", "orders"):
        notify.fire(f"dlq_unreadable:{queue}", Trouble(title=f"{queue} can't be read", severity="critical"))
    for number in range(3):
        notify.fire(f"cloudwatch:{number}", Trouble(title=f"Alarm {number}.", severity="info"))
    notify.fire("quarantined_jobs", Trouble(title="3 jobs in quarantine", severity="warning"))
    overview.memory.clear()

    told = overview.findings(replace(WELL, firing_rules=overview.read().firing_rules), ARMED)

    assert [each.sentence for each in told] == [
        "orders can't be read.",
        "letters can't be read.",
        "3 jobs in quarantine.",
        f"12 alerts of “Queue can't be read”: {', '.join(f'q{n:02}' for n in range(11, 1, -1))} and 2 others.",
        "3 alerts without a rule: Alarm 2; Alarm 1; Alarm 0.",
    ]
    client.force_login(people.operator())
    shown = [client.get(each.url).context for each in told]
    counts = [page["cl"].result_count for page in shown if "cl" in page]
    assert counts == [12, 3]


@pytest.mark.django_db
def test_rule_is_named_however_many_alerts_of_others_fire(client: Client) -> None:
    """Of up to two alerts each is named. More are a line, which opens exactly those, and the page asks no more for them."""
    # Whoever asks for a page may judge the monitors, which ends alerts about others.
    rules = [rule for rule in RULES if rule != "monitor_late"][:23]
    many = [
        Alert(
            rule=rule,
            fingerprint=f"{rule}:q{n:02}",
            title=f"{rule} {n}",
            severity="critical",
            clear_since=Now(),
        )
        for rule in rules[:20]
        for n in range(34)
    ]
    two = [
        Alert(rule=rule, fingerprint=f"{rule}:q{n}", title=f"{rule} {n}", severity="warning")
        for rule in rules[20:22]
        for n in range(2)
    ]
    Alert.objects.bulk_create(
        [
            *many,
            *two,
            *(
                Alert(rule=rules[22], fingerprint=f"{rules[22]}:{n}", title=f"No {n}", severity="info")
                for n in range(6)
            ),
        ]
    )
    assert Alert.objects.firing().count() == 690
    Alert.objects.filter(rule=rules[0], fingerprint__endswith="q00").update(clear_since=None)
    client.force_login(people.operator())

    assert len(fewest_statements(client, reverse("admin:index"))) <= 12

    told = overview.findings(replace(WELL, firing_rules=overview.read().firing_rules), ARMED)
    lines = [each.sentence for each in told]
    assert len(lines) == 20 + 4 + 1
    assert [f"{rule} {n}." for rule in reversed(rules[20:22]) for n in (1, 0)] == [
        line for line in lines if line[0].islower()
    ]
    titles = {each.rule: RULES[each.rule].title for each in Alert.objects.all()}
    for rule, number, gone in [
        (rules[0], 34, ""),
        *((rule, 34, "No longer: ") for rule in rules[1:20]),
        (rules[22], 6, ""),
    ]:
        [finding] = [each for each in told if f"“{titles[rule]}”" in each.sentence]
        assert finding.sentence.startswith(f"{gone}{number} alerts of “{titles[rule]}”: ")
        assert client.get(finding.url).context["cl"].result_count == number
    page = client.get(reverse("admin:overview_live")).text
    assert all(escape(line) in page for line in lines)


@pytest.mark.django_db
def test_alert_whose_problem_is_away_is_named_as_such_and_last() -> None:
    """Such as after workers are back: the alert keeps firing for as long as its rule says."""
    notify.fire("no_live_worker", Trouble(title="1 job waits and no worker is alive", severity="critical"))
    notify.fire("quarantined_jobs", Trouble(title="3 jobs in quarantine", severity="warning"))
    Alert.objects.filter(rule="no_live_worker").update(clear_since=Now())
    overview.memory.clear()

    told = overview.findings(replace(WELL, firing_rules=overview.read().firing_rules), ARMED)
    assert [(each.tone, each.sentence) for each in told] == [
        ("warning", "3 jobs in quarantine."),
        ("quiet", "No longer: 1 job waits and no worker is alive."),
    ]
    assert told[1].advice == "The alert resolves automatically if this does not come back."


def test_what_does_no_harm_comes_last() -> None:
    assert sentences(replace(WELL, quarantined=3), OBSERVING) == [
        "3 jobs in quarantine.",
        "Recovery only observes: 0 runs lost their worker.",
    ]


def test_headline_about_dead_letters_says_the_present_figure() -> None:
    alert = FiringAlert(7, "SQS counts 3 dead letters (default)", "critical", "dlq_not_empty", "default")
    seen = replace(WELL, firing=1, firing_rules=alone(alert), dead_letters_by_queue={"default": 4})
    assert sentences(seen) == ["SQS counts 4 dead letters (default)."]
    # Unknown now: what was told is all that is known.
    assert sentences(replace(seen, dead_letters_by_queue={})) == ["SQS counts 3 dead letters (default)."]


@pytest.mark.django_db
def test_person_who_may_not_see_a_figure_still_sees_its_alert() -> None:
    alert = FiringAlert(7, "3 jobs in quarantine", "critical", "quarantined_jobs")
    [finding] = overview.findings(replace(WELL, quarantined=3, firing=1, firing_rules=alone(alert)), ARMED)
    alerts, nothing = people.viewer("al"), people.viewer("no")
    alerts.user_permissions.set(Permission.objects.filter(codename="view_alert"))
    nothing.user_permissions.clear()
    shown = finding.for_user(alerts)
    assert shown and shown.url == reverse("admin:alerts_alert_change", args=[7])
    assert finding.for_user(people.operator()) is finding
    assert finding.for_user(nothing) is None


@pytest.mark.django_db
def test_who_has_no_buttons_is_told_who_has(client: Client) -> None:
    overview.memory.clear()
    notify.fire("x", Trouble(title="The disk is full", severity="critical"))
    job(status=Status.QUARANTINED)
    client.force_login(people.operator())
    page = client.get(reverse("admin:index")).content.decode()
    assert "Look at it, then acknowledge it." in page and "then release the jobs." in page
    assert "you need the role" not in page

    client.force_login(people.viewer())
    page = client.get(reverse("admin:index")).content.decode()
    assert "acknowledge it" not in page and "then release" not in page
    assert (
        "To acknowledge, snooze or resolve alerts, you need the role Operator or another that allows it."
        in page
    )
    assert "To requeue, cancel or release jobs, you need the role Operator or another that allows it." in page


@pytest.mark.django_db
def test_nothing_is_all_right_without_a_channel(client: Any, settings: Any) -> None:
    settings.QUEUES = {}
    settings.SLACK_WEBHOOK_URL, settings.OPSCONSOLE_ALERT_CHANNELS = None, {}
    banner.memory.clear()
    overview.memory.clear()
    client.force_login(people.operator())
    page = client.get(reverse("admin:index")).content.decode()
    assert "Nobody is told about alerts: no channel is set." in page
    assert "Nothing needs your attention" not in page
    # Other pages are not covered by it: it may be a decision.
    assert "no channel is set" not in client.get(reverse("admin:jobs_job_changelist")).content.decode()
    banner.memory.clear()
