"""Tests of lost messages: sent again only on proof of loss, a bounded number of times (I2)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from jobs.messaging.dispatcher import dispatch
from jobs.messaging.queue_depths import refresh_queue_states
from jobs.models import (
    Job,
    JobEvent,
    MessageTrouble,
    Outbox,
    QueueState,
    RecoveryControl,
    Status,
    waiting_message,
)
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import control, loss_proofs, lost_messages, sweeps, waiting
from jobs.recovery.loss_proofs import SETTLING
from jobs.recovery.lost_messages import resend_lost
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.running_job import RunningJob
from tests.factories import SECOND, beat, job, letter
from tests.fakes.sqs import FakeSqs
from tests.racing import race

pytestmark = pytest.mark.django_db

State = Outbox.State
OPERATOR = Actor.operator("ada", None)
QUEUE = "https://sqs.fake/jobs"
LOST_AFTER = timedelta(minutes=30)
LONG = timedelta(days=2)
# The clock runs during a test: times "just under" a limit stay below it by this much.
ROOM = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def armed(db: None, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", QUEUE, None)}
    RecoveryControl.objects.get_or_create(pk=1)
    control.arm(OPERATOR, "tests", cutoff=None)


@pytest.fixture
def empty_queue(armed: None) -> QueueState:
    """Record that the queue was empty a moment ago."""
    return QueueState.objects.create(name="default", visible=0, in_flight=0, delayed=0, read_at=Now())


def sent(*, ago: timedelta = LONG, resends: int = 0, state: str = State.SENT, **fields: Any) -> Job:
    """Create a job that has waited since ``ago``, with the row of the message sent then."""
    waiting = job(updated_at=Now() - ago, created_at=Now() - ago, **fields)
    letter(waiting, state=state, sent_at=Now() - ago, resends=resends, attempts=4, due=ago)
    return waiting


def candidates() -> set[Job]:
    return set(Job.objects.to_be_resent())


# --- which jobs are candidates ---


def test_conditions_for_the_index_and_the_schedule_leave_nobody_out() -> None:
    """They only help PostgreSQL: when a worker could have received the message decides alone."""
    times = [None, -LONG, -LOST_AFTER - ROOM, -LOST_AFTER / 2, timedelta(0), LONG]
    for updated, not_before, sent_at in itertools.product(times[1:], times, times):
        waiting = job(
            updated_at=Now() + updated, not_before=None if not_before is None else Now() + not_before
        )
        if sent_at is not None:
            letter(waiting, state=State.SENT, sent_at=Now() + sent_at)
    by_definition = Job.objects.waiting().with_message().filter(waiting_message.unclaimed())
    assert set(Job.objects.unclaimed()) == set(by_definition)
    # Each of the three times is absent, where it may be, or older than the limit.
    assert len(by_definition) == 2 * 3 * 3


@pytest.mark.parametrize(("resends", "patience"), [(0, 1), (1, 2), (2, 4)])
def test_patience_doubles_with_each_resend(resends: int, patience: int) -> None:
    sent(ago=patience * LOST_AFTER - ROOM, resends=resends)
    over = sent(ago=patience * LOST_AFTER + SECOND, resends=resends)
    assert candidates() == {over}


def test_after_three_resends_it_stays_pending_and_is_listed(empty_queue: QueueState) -> None:
    two, three = sent(resends=2), sent(resends=3)
    sent(ago=LOST_AFTER - ROOM, resends=3)
    assert candidates() == {two}
    assert set(Job.objects.with_trouble(MessageTrouble.USED_UP)) == {three}
    assert resend_lost() == 1
    three.refresh_from_db()
    assert three.status == Status.PENDING
    assert Outbox.objects.get(job=three).state == State.SENT


def test_job_sent_by_its_producer_has_no_row_and_is_a_candidate() -> None:
    waiting = job(updated_at=Now() - LOST_AFTER - SECOND)
    job(updated_at=Now() - LOST_AFTER + ROOM)
    (found,) = Job.objects.to_be_resent()
    assert found == waiting
    assert (found.resends, found.waiting_since) == (0, waiting.updated_at)


@pytest.mark.parametrize(
    ("state", "expected"),
    [(State.WAITING, False), (State.REFUSED, False), (State.SENT, True), (State.DROPPED, True)],
)
def test_message_on_its_way_or_refused_is_not_lost(state: str, expected: bool) -> None:
    waiting = sent(state=state)
    assert candidates() == ({waiting} if expected else set())


def test_rows_of_other_runs_and_of_the_dead_letter_queue_do_not_count() -> None:
    waiting = job(updated_at=Now() - LONG, run_epoch=2)
    letter(waiting, run_epoch=1, resends=3)
    letter(waiting, destination="dlq")
    assert candidates() == {waiting}


def test_wait_begins_when_the_message_was_sent_or_the_job_may_start() -> None:
    held_up = sent()
    Outbox.objects.update(sent_at=Now() - LOST_AFTER + ROOM)
    early = job(updated_at=Now() - LONG, not_before=Now() - LOST_AFTER + ROOM)
    assert candidates() == set()
    Outbox.objects.update(sent_at=F("sent_at") - ROOM)
    Job.objects.update(not_before=F("not_before") - ROOM)
    assert candidates() == {held_up, early}


@pytest.mark.parametrize("status", [status for status in Status if status != Status.PENDING] + ["on_hold"])
def test_only_pending_jobs_are_candidates(status: str) -> None:
    sent(status=status)
    assert candidates() == set()


# --- what proves a loss ---


def test_nothing_is_sent_without_proof() -> None:
    sent()
    assert candidates() and resend_lost() == 0


def test_empty_queue_proves_loss(empty_queue: QueueState) -> None:
    waiting = sent()
    assert resend_lost() == 1
    row = Outbox.objects.get(job=waiting)
    assert (row.state, row.resends, row.attempts) == (State.WAITING, 1, 0)
    assert Outbox.objects.due().get() == row
    event = JobEvent.objects.get(job=waiting)
    assert (event.kind, event.run_epoch, event.actor) == ("resent", 1, "sweep")
    assert (
        event.reason == "Its message is lost: no worker took it for 2 d, and queue 'default' was seen empty."
    )
    assert (event.details["resend"], event.details["queue"]) == (1, "default")
    assert resend_lost() == 0


@pytest.mark.parametrize(
    "figures",
    [
        {"visible": 1},
        {"in_flight": 1},
        {"delayed": 1},
        {"visible": None, "in_flight": None, "delayed": None, "read_at": None},
        {"error": "The queue can't be reached."},
        {"read_at": Now() - loss_proofs.FRESH - SECOND},
        {"name": "retired"},
    ],
    ids=str,
)
def test_queue_that_is_not_known_empty_proves_nothing(
    empty_queue: QueueState, figures: dict[str, Any]
) -> None:
    sent()
    QueueState.objects.update(**figures)
    assert resend_lost() == 0


@pytest.mark.parametrize(("read_after", "expected"), [(SETTLING - SECOND, 0), (SETTLING + SECOND, 1)])
def test_reading_counts_only_messages_sent_well_before_it(
    empty_queue: QueueState, settings: Any, read_after: timedelta, expected: int
) -> None:
    settings.OPSCONSOLE_LOST_AFTER_SECONDS = 60
    waiting = sent(ago=2 * SETTLING)
    QueueState.objects.update(read_at=waiting.updated_at + read_after)
    Outbox.objects.update(sent_at=waiting.updated_at)
    assert resend_lost() == expected


def test_reading_from_before_the_message_was_sent_proves_nothing(
    empty_queue: QueueState, settings: Any
) -> None:
    settings.OPSCONSOLE_LOST_AFTER_SECONDS = 60
    sent(ago=170 * SECOND)
    QueueState.objects.update(read_at=Now() - 150 * SECOND)
    Outbox.objects.update(sent_at=Now() - 100 * SECOND)
    assert candidates() and resend_lost() == 0


# --- a queue that holds messages ---


def held(**figures: int) -> None:
    """Record what the queue holds, as read now."""
    QueueState.objects.update_or_create(
        name="default",
        defaults={"visible": 0, "in_flight": 0, "delayed": 0, "read_at": Now(), "error": ""} | figures,
    )


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"visible": 4}, 0),
        ({"visible": 9}, 0),
        ({"visible": 1, "in_flight": 1, "delayed": 1}, 1),
        ({"visible": 1}, 3),
    ],
)
def test_no_more_is_resent_than_is_missing(figures: dict[str, int], expected: int) -> None:
    jobs = [sent(ago=LONG - number * SECOND) for number in range(4)]
    held(**figures)
    assert resend_lost() == expected
    assert resend_lost() == 0, "the same reading is no second proof"
    # Those that have waited longest.
    again = Outbox.objects.filter(state=State.WAITING).values_list("job_id", flat=True)
    assert set(again) == {each.pk for each in jobs[:expected]}
    if expected:
        reason = JobEvent.objects.order_by("id")[0].reason
        assert reason.startswith(
            "Its message is probably lost: no worker took it for 2 d, and queue 'default' held "
        )
        assert reason.endswith(" fewer than jobs wait whose message was sent.")


def test_claims_of_later_jobs_prove_nothing() -> None:
    sent()
    held(visible=1)
    Job.objects.bulk_create(
        Job(customer_id="TEST-002", package_size=1, status=Status.COMPLETED) for _ in range(200)
    )
    assert resend_lost() == 0


def test_jobs_that_waited_equally_long_are_told_apart() -> None:
    """A producer may insert thousands of jobs in one transaction."""
    first = sent()
    for _ in range(5):
        sent()
    Job.objects.update(updated_at=first.updated_at)
    Outbox.objects.update(sent_at=first.updated_at)
    held(visible=4)
    assert waiting.having(MessageTrouble.LOST).count() == 2
    assert waiting.having(MessageTrouble.UNPROVEN).count() == 4
    assert resend_lost() == 2


@pytest.mark.parametrize(
    "others",
    [{"ago": SECOND}, {"state": State.WAITING}, {"state": State.REFUSED}, {"resends": 3}, {"queue": "other"}],
    ids=["sent a moment ago", "not sent yet", "refused", "re-sent in vain", "of another queue"],
)
def test_jobs_whose_message_is_not_expected_in_the_queue_are_not_counted(others: dict[str, Any]) -> None:
    sent()
    for _ in range(3):
        sent(**others)
    held(visible=1)
    assert resend_lost() == 0


def test_queue_that_holds_as_many_messages_as_jobs_wait_proves_nothing_without_the_outbox() -> None:
    """PostgreSQL would join thousands of waiting jobs with a large outbox for a count that pages ask for."""
    for _ in range(3):
        sent()
    job(updated_at=Now() - LONG, not_before=Now() + LONG)
    for visible, read in ((3, 0), (2, 2)):
        held(visible=visible)
        with CaptureQueriesContext(connection) as captured:
            found = loss_proofs.proofs()
        assert bool(found) is bool(read)
        assert sum('"outbox"' in each["sql"] for each in captured.captured_queries) == read


def test_old_jobs_left_to_operators_take_their_share_of_what_is_missing() -> None:
    """Two messages are missing. Those of the two jobs from before the cutoff count as lost first."""
    sent(ago=timedelta(hours=4))
    sent(ago=timedelta(hours=3))
    newer = sent(ago=timedelta(hours=1))
    held(visible=1)
    control.arm(OPERATOR, "tests", cutoff=newer.updated_at - SECOND)
    assert resend_lost() == 0


def test_unknown_figures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    sent()
    held(visible=0)
    QueueState.objects.update(error="The queue can't be reached.")
    assert resend_lost() == 0
    sentence = "No message is re-sent to default: what the queue holds is unknown."
    assert sentence in caplog.text
    assert sweeps.sweep("test").note == sentence
    held(visible=0)
    assert sweeps.sweep("test").note == ""


BACKLOG = 38_000


def backlog() -> None:
    """Create jobs of one insert whose messages were sent within a quarter of an hour, two days ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs (customer_id, package_size, created_at, updated_at)"
            " SELECT 'CUST-' || n, 50, now() - interval '2 days', now() - interval '2 days' FROM generate_series(1, %s) n",
            [BACKLOG],
        )
        cursor.execute(
            "INSERT INTO outbox (job_id, run_epoch, queue, state, sent_at, available_at, dead_letter_id)"
            " SELECT id, 1, 'default', 'sent', now() - interval '2 days' + random() * interval '15 min', now(), NULL FROM jobs"
        )
        cursor.execute("ANALYZE jobs, outbox")


def claim_at_random(count: int, *, but: Sequence[Job] = ()) -> None:
    """Claim waiting jobs in no order, as a standard queue may deliver them."""
    chosen = Job.objects.waiting().exclude(pk__in=[each.pk for each in but]).order_by("?")[:count]
    Job.objects.filter(pk__in=chosen.values("pk")).update(status=Status.COMPLETED, updated_at=Now())


def test_backlog_claimed_out_of_order_is_not_resent() -> None:
    backlog()
    left = BACKLOG
    for claimed in (0, 1_000, 17_000, 15_000, 4_990):
        claim_at_random(claimed)
        left -= claimed
        held(visible=left - 7, in_flight=7)
        assert resend_lost() == 0, f"{left} left"
    assert left == 10


def test_lost_messages_of_backlog_are_resent_in_the_end(settings: Any) -> None:
    """Five messages are lost. At first others count as lost, which do no harm; in the end the five are re-sent."""
    backlog()
    lost = list(Job.objects.waiting().order_by("?")[:5])
    queue_holds = BACKLOG - 5
    resent_count = 0
    for _ in range(20):
        held(visible=queue_holds)
        again = resend_lost()
        assert again <= 5
        resent_count += again
        queue_holds += again
        # The dispatcher sent them long before the next look, and after the others.
        Outbox.objects.filter(state=State.WAITING).update(state=State.SENT, sent_at=Now() - LONG / 2)
        received = {event.job_id for event in JobEvent.objects.filter(kind="resent")}
        lost = [each for each in lost if each.pk not in received]
        claim_at_random(3_000, but=lost)
        # Copies of claimed jobs are deleted with them.
        queue_holds = Job.objects.waiting().count() - len(lost)
    assert lost == []
    assert not Job.objects.waiting().exists()
    assert resent_count < 100


def test_job_of_a_queue_that_is_not_configured_is_left_alone(empty_queue: QueueState) -> None:
    sent(queue="retired")
    QueueState.objects.update(name="retired")
    assert resend_lost() == 0


# --- when sending again is allowed ---


def test_observing_changes_nothing(empty_queue: QueueState) -> None:
    sent()
    control.disarm(OPERATOR, "tests")
    assert resend_lost() == 0
    assert len(lost_messages.find(10)) == 1
    assert not Outbox.objects.due().exists() and not JobEvent.objects.exists()


def test_jobs_older_than_the_cutoff_are_not_resent(empty_queue: QueueState) -> None:
    sent(ago=timedelta(hours=3))
    newer = sent(ago=timedelta(hours=1))
    control.arm(OPERATOR, "tests", cutoff=newer.updated_at - SECOND)
    assert resend_lost() == 1
    assert Outbox.objects.due().get().job_id == newer.pk


@pytest.mark.parametrize(
    ("setting", "old_kind_beat", "expected"),
    [
        ("off", None, 0),
        ("on", timedelta(0), 1),
        ("auto", None, 1),
        ("auto", timedelta(days=1) - ROOM, 0),
        ("auto", timedelta(days=1) + SECOND, 1),
    ],
)
def test_old_kind_workers_and_their_setting(
    empty_queue: QueueState, settings: Any, setting: str, old_kind_beat: timedelta | None, expected: int
) -> None:
    settings.OPSCONSOLE_LOST_RESEND = setting
    beat("worker-1", None, 1)
    if old_kind_beat is not None:
        beat("old-kind-1", ago=old_kind_beat)
    sent()
    assert resend_lost() == expected


def test_longest_waiting_jobs_are_resent_first_up_to_the_limit(empty_queue: QueueState) -> None:
    sent(ago=timedelta(hours=5))
    oldest = sent(ago=timedelta(hours=9))
    assert resend_lost(limit=1) == 1
    assert Outbox.objects.due().get().job_id == oldest.pk
    assert resend_lost(limit=5) == 1


# --- the write is guarded ---


def claim(waiting: Job) -> None:
    assert isinstance(lifecycle.claim(waiting.pk, 1, Worker("worker-1")), RunningJob)


def cancel(waiting: Job) -> None:
    job_operations.carry_out(job_operations.plan(JobAction.CANCEL, [waiting.pk]), OPERATOR, "tests")


def start_again(waiting: Job) -> None:
    restart(Job.objects.filter(pk=waiting.pk))


def resend(waiting: Job) -> None:
    """Send the message again, as another console and its dispatcher would."""
    assert resend_lost() == 1
    Outbox.objects.update(state=State.SENT, sent_at=Now())


def refuse(waiting: Job) -> None:
    Outbox.objects.update(state=State.REFUSED)


@pytest.mark.parametrize("happens", [claim, cancel, start_again, resend, refuse])
def test_job_changed_since_search_is_left_alone(
    empty_queue: QueueState, happens: Callable[[Job], None]
) -> None:
    waiting = sent()
    seen = lost_messages.find(10)
    happens(waiting)
    events, rows = JobEvent.objects.count(), list(Outbox.objects.values())
    assert len(seen) == 1 and lost_messages._arm_again(seen) == 0
    assert (JobEvent.objects.count(), list(Outbox.objects.values())) == (events, rows)


def test_resend_of_producer_message_creates_outbox_row(empty_queue: QueueState) -> None:
    waiting = job(updated_at=Now() - LONG)
    assert resend_lost() == 1
    row = Outbox.objects.get(job=waiting)
    assert (row.run_epoch, row.reason, row.retry, row.resends) == (1, "lost_message", True, 1)
    assert JobEvent.objects.get(job=waiting).details["resend"] == 1


@pytest.mark.django_db(transaction=True)
def test_several_at_once_resend_each_message_once(empty_queue: QueueState) -> None:
    for number in range(40):
        sent() if number % 2 else job(updated_at=Now() - LONG)
    done = race([resend_lost] * 4)
    assert sum(done) == 40
    assert set(Outbox.objects.values_list("state", "resends")) == {(State.WAITING, 1)}
    assert JobEvent.objects.count() == 40


@pytest.mark.django_db(transaction=True)
def test_job_being_claimed_is_passed_over(empty_queue: QueueState) -> None:
    waiting = sent()
    with transaction.atomic():
        claim(waiting)
        assert race([resend_lost]) == [0]
    assert resend_lost() == 0
    assert Outbox.objects.get().resends == 0
    assert not JobEvent.objects.filter(kind=JobEvent.Kind.RESENT).exists()


# --- from loss to claim ---


def test_lost_message_is_sent_again_and_two_copies_start_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSqs()
    fake.create(QUEUE)
    monkeypatch.setattr(sqs, "client_for", fake.client_for)
    waiting = job(updated_at=Now() - LONG)
    letter(waiting)
    assert dispatch().sent == 1
    fake.queues[QUEUE].messages.clear()
    refresh_queue_states()
    assert resend_lost() == 0, "sent a moment ago, it may be on its way"
    Outbox.objects.update(sent_at=Now() - LOST_AFTER - SECOND)
    assert resend_lost() == 1
    assert dispatch().sent == 1
    (body,) = fake.bodies(QUEUE)
    assert (json.loads(body)["job_id"], json.loads(body)["run_epoch"]) == (str(waiting.pk), 1)
    assert isinstance(lifecycle.claim(waiting.pk, 1, Worker("worker-1")), RunningJob)
    again = lifecycle.claim(waiting.pk, 1, Worker("worker-2"))
    assert isinstance(again, lifecycle.Refused) and again.refusal.settled
    assert resend_lost() == 0
