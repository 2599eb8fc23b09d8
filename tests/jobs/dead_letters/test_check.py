"""Tests of the dead letter check: who is notified of what, when, and never twice (I7, I8)."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.urls import reverse
from django_q.models import OrmQ, Schedule

from alerts.models import Alert, Monitor, Notification, Rule
from alerts.trouble import shown_facts
from alerts.watch import monitor_alerts
from jobs import tasks
from jobs.dead_letters import check, origins
from jobs.dead_letters.scan import Budget
from jobs.models import DeadLetter, DeadLetterQueue, Status
from opsconsole.cluster import scheduler, schedules
from opsconsole.kit import pauses
from tests import factories
from tests.factories import DAY, SECOND, job
from tests.fakes import sqs as fakes
from tests.jobs.dead_letters.account import BUDGET, DLQ, FIFO_DLQ, QUEUES, Account, letter, replay
from tests.racing import race

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rules_without_delay")]

RULE = "dlq_not_empty:default"


def told() -> list[tuple[str, float | None, str]]:
    """Return the kind, count and news of each notification about the depth of the dead letter queue."""
    rows = Notification.objects.filter(alert__fingerprint=RULE).order_by("pk")
    return list(rows.values_list("kind", "value", "news"))


def alert() -> Alert:
    return Alert.objects.get(fingerprint=RULE, resolved_at=None)


def remove(account: Account, count: int) -> None:
    """Remove letters as another consumer would."""
    messages = account.fake.queues[DLQ].messages
    for message_id in list(messages)[:count]:
        del messages[message_id]


def test_first_dead_letters_are_notified_with_their_owners(account: Account) -> None:
    error = "ConnectionError: the directory did not answer"
    ada = job(customer_id="ADA", status=Status.FAILED, error_message=error, created_at=Now() - 2 * DAY)
    bob = job(customer_id="BOB", status=Status.FAILED, error_message=error, deadline_at=Now() - 3 * DAY)
    for each in (ada, bob, job(customer_id="ADA", status=Status.FAILED, error_message="KeyError: 'x7'")):
        account.die_with(each)

    account.check()

    [notification] = Notification.objects.all()
    facts, links = dict(shown_facts(notification.facts)), dict(notification.links)
    assert (notification.kind, notification.value) == ("firing", 3)
    assert notification.title == "SQS counts 3 dead letters (default)"
    assert facts["Newest failures"].splitlines()[-1].endswith("ConnectionError: the directory did not answer")
    assert facts["Affected customers"] == "3 jobs of 2 customers: ADA (2), BOB (1)"
    assert facts["Longest overdue"] == f"BOB, job {str(bob.pk)[:8]}, due 3 d ago"
    assert facts["For support"].startswith("Orders of ADA, BOB have stopped (3 jobs).")
    assert facts["Coverage"] == "all 3 seen"
    assert notification.link.startswith("/admin/jobs/deadletter/?dlq=")
    assert links[f"Job {str(bob.pk)[:8]}"] == f"/admin/jobs/job/{bob.pk}/change/"
    assert links["Customer ADA"] == f"{reverse('customer')}?id=ADA" and "Customer BOB" in links
    # Each message already has a link "Review"; a second one would lead to the same page.
    assert list(links) == ["View DLQ", *list(links)[1:]]
    assert "Review" not in links


def test_failures_that_are_not_named_are_counted_with_a_link(account: Account) -> None:
    for letter_of in "abc":
        account.die_with(job(status=Status.FAILED, error_message=f"{letter_of * 3}Error"))
    account.check()
    facts, links = dict(shown_facts(alert().facts)), dict(alert().links)
    assert "other" not in facts["Newest failures"] and "All failures" not in links

    for letter_of in "de":
        account.die_with(job(status=Status.FAILED, error_message=f"{letter_of * 3}Error"))
    account.check()

    facts, links = dict(shown_facts(alert().facts)), dict(alert().links)
    assert len(facts["Newest failures"].splitlines()) == 4
    assert facts["Newest failures"].splitlines()[-1] == "and 2 other failures"
    assert links["All failures"] == "/admin/jobs/failuregroup/"


def test_letters_of_recovered_jobs_affect_no_customer(account: Account) -> None:
    account.die_with(job(status=Status.COMPLETED))

    account.check()

    assert "Affected customers" not in dict(shown_facts(alert().facts))


def test_unchanged_depth_sends_nothing(account: Account) -> None:
    account.die(*"abc")
    for _ in range(4):
        account.check()

    assert len(told()) == 1


def test_replaced_letters_at_equal_depth_are_notified(account: Account) -> None:
    account.die(*"abcde")
    account.check()
    remove(account, 5)
    account.die(*"fghij")
    account.check()

    assert told() == [("firing", 5, ""), ("news", 5, "5 new dead letters.")]


def test_5_1_4(account: Account) -> None:
    account.die(*"abcde")
    account.check()
    remove(account, 4)
    account.check()
    account.die(*"fgh")
    account.check()

    assert [(kind, count) for kind, count, _ in told()] == [("firing", 5), ("news", 4)]


def test_messages_in_flight_elsewhere_count_as_present(account: Account) -> None:
    account.die(*"ab")
    account.check()
    account.fake.receive_message(QueueUrl=DLQ, MaxNumberOfMessages=10, VisibilityTimeout=600)

    for _ in range(3):
        account.check()

    assert alert().value == 2
    assert len(told()) == 1
    assert DeadLetter.objects.filter(state=DeadLetter.State.IN_QUEUE).count() == 2


def miscounted(wrong_by: int, count: int) -> int:
    return max(0, count + wrong_by) if count else 0


def test_jitter_10_9_10_11(account: Account) -> None:
    account.die(*"abcdefghij")
    for wrong_by in (0, -1, 0, 1, 0):
        account.fake.miscount = partial(miscounted, wrong_by)
        account.check()

    assert len(told()) == 1


def test_read_fails(account: Account) -> None:
    account.die(*"ab")
    account.check()
    account.fake.fail_next(20, fakes.client_error("AccessDenied", 403))

    checked = account.check()

    assert checked.visited.depth is None
    assert "AccessDenied" in str(checked)
    row = alert()
    assert (row.value, row.state) == (2, "firing")
    assert row.unknown_since is not None
    assert len(told()) == 1
    assert DeadLetterQueue.objects.get(url=DLQ).unreadable_since is not None

    account.fake.heal()
    account.check()
    assert alert().unknown_since is None
    assert DeadLetterQueue.objects.get(url=DLQ).unreadable_since is None


def test_long_unknown_state_is_notified(account: Account) -> None:
    account.fake.fail_next(99, fakes.client_error("AccessDenied", 403))
    account.check()
    from alerts.models import Gauge

    Gauge.objects.update(unknown_since=F("unknown_since") - timedelta(minutes=30))
    account.check()

    assert Alert.objects.get(fingerprint="dlq_unreadable:default").severity == "critical"


def test_failed_receive_is_unknown_and_keeps_known_letters(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = account.die(*"abcdefghijklmno")
    account.fake.fail_next(1, fakes.client_error("InternalError", 500), call="delete")
    queue = next(dlq for dlq in origins.configured() if dlq.url == DLQ)
    receive = account.fake.receive_message
    reads = iter([1])

    def once(**options: Any) -> Any:
        if next(reads, None) is None:
            raise fakes.client_error("InternalError", 500)
        return receive(**options)

    monkeypatch.setattr(account.fake, "receive_message", once)
    checked = check.check_one(queue, BUDGET)

    assert checked.visited.depth is None
    assert DeadLetter.objects.filter(message_id__in=ids).count() == 10
    assert account.fake.hidden(DLQ) == 0


def test_resolution_is_notified_once(account: Account) -> None:
    [message_id] = account.die("a")
    account.check()
    replay(letter(message_id))
    account.work()
    for _ in range(3):
        account.check()

    assert [kind for kind, *_ in told()] == ["firing", "resolved"]


def test_letters_deleted_by_check_are_not_counted(account: Account) -> None:
    [message_id] = account.die("a")
    account.check()
    replay(letter(message_id))

    account.check()

    assert [kind for kind, *_ in told()] == ["firing", "resolved"]


def test_new_failure_group_is_notified_despite_acknowledgement(account: Account) -> None:
    account.die('{"a": 1}')
    account.check()
    Alert.objects.update(state=Alert.State.ACKNOWLEDGED)
    account.die('{"a": 2}')
    account.check()
    assert alert().state == Alert.State.ACKNOWLEDGED

    account.die('{"b": 1}')
    account.check()

    assert alert().state == Alert.State.FIRING
    assert told()[-1] == ("news", 3, "2 new dead letters, 1 failure not seen before.")


def test_returned_letter_is_notified(account: Account) -> None:
    [message_id, _] = account.die("order", "another")
    account.check()
    replay(letter(message_id))
    account.work()
    [again] = account.fake.queues[QUEUES["default"].url].messages.values()
    account.fake.queues[DLQ].messages[again.id] = again
    account.check()

    assert told()[-1][2] == "1 new dead letter, 1 of them came back after a replay."
    assert dict(shown_facts(alert().facts))["Came back after a replay"] == "1"


def test_check_killed_before_commit_is_notified_by_next_check(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.die("a")

    def killed(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("alerts.notifications._create", killed)
        with pytest.raises(KeyboardInterrupt):
            account.check()
    assert told() == []
    assert DeadLetter.objects.get().told_at is None

    account.check()
    assert [kind for kind, *_ in told()] == ["firing"]


@pytest.mark.django_db(transaction=True)
def test_concurrent_checks_notify_once(account: Account) -> None:
    account.die(*"abc")
    origins.configured()

    race([partial(account.check), partial(account.check)])
    account.check()

    assert DeadLetter.objects.count() == 3
    assert told() == [("firing", 3, "")]
    assert Alert.objects.filter(fingerprint=RULE).count() == 1


@pytest.mark.django_db(transaction=True)
def test_four_hours_of_downtime_are_one_evaluation(account: Account) -> None:
    schedules.sync()
    OrmQ.objects.all().delete()
    ours = Schedule.objects.get(func="jobs.tasks.check_dead_letters")
    Schedule.objects.exclude(pk=ours.pk).delete()
    Schedule.objects.update(next_run=ours.next_run - timedelta(hours=4))
    account.die(*"abcd")

    scheduler.run()
    scheduler.run()

    assert OrmQ.objects.count() == 1
    tasks.check_dead_letters()
    assert len(told()) == 1


def test_fifo_link(account: Account) -> None:
    account.die("order", fifo=True)
    account.check(FIFO_DLQ)

    links = dict(Alert.objects.get(fingerprint="dlq_not_empty:orders").links)
    assert links["View DLQ"] == (
        "https://eu-west-1.console.aws.amazon.com/sqs/v3/home?region=eu-west-1#/queues/"
        "https%3A%2F%2Fsqs.eu-west-1.amazonaws.com%2F123456789012%2Forders-dlq.fifo"
    )


def test_without_aws_there_is_no_link_to_it(account: Account, settings: Any) -> None:
    settings.AWS_ENDPOINT_URL = "http://127.0.0.1:4566"
    account.die("order")
    account.check()

    assert "View DLQ" not in dict(alert().links)


def test_three_day_old_message_with_four_day_retention(account: Account) -> None:
    [message_id] = account.die("order")
    account.clock.pass_by(timedelta(days=3))
    account.check()

    made = letter(message_id)
    assert made.sent_at is not None
    assert made.expires_at == made.sent_at + timedelta(days=4)
    assert account.clock.wall() + 86_400 == pytest.approx(made.expires_at.timestamp())


def test_messages_about_to_expire_are_notified(account: Account) -> None:
    account.die("order", "another")
    account.check()
    assert not Alert.objects.filter(rule="dead_letters_expiring").exists()

    DeadLetter.objects.filter(body="order").update(expires_at=Now() + timedelta(hours=23))
    account.check()

    [expiring] = Alert.objects.filter(rule="dead_letters_expiring")
    assert (expiring.value, expiring.title) == (1, "SQS deletes 1 dead letter within a day (default)")


def test_changed_retention_moves_the_deadlines(account: Account) -> None:
    [message_id] = account.die("order")
    account.check()
    account.fake.queues[DLQ].retention_seconds = 14 * 86_400
    account.check()

    made = letter(message_id)
    assert made.sent_at is not None
    assert made.expires_at == made.sent_at + timedelta(days=14)


@pytest.mark.parametrize(
    "body",
    [
        "<!channel> urgent",
        '{"reason": "<!channel>", "note": "x"}',
        json.dumps({"pad": "é" * 500_000}, ensure_ascii=False),
        "🎉" * 1_000,
        '{"card": "4111111111111111", "job_id": "not a uuid"}',
    ],
    ids=["channel", "channel in JSON", "1 MiB", "emoji", "secret"],
)
def test_body_with_channel_1_mib_emoji(account: Account, body: str) -> None:
    [message_id] = account.die(body)

    account.check()

    assert letter(message_id).body == body
    assert letter(message_id).body_bytes == len(body.encode())
    said = json.dumps(
        list(Notification.objects.values("title", "summary", "facts", "links", "news")), default=str
    )
    assert len(said) < 3_000
    for secret in ("channel", "4111", "é", "🎉", "pad", "card"):
        assert secret not in said


def test_monitor_is_pinged_after_each_success(account: Account, settings: Any) -> None:
    account.check()

    monitor = Monitor.objects.get(name="dead letter check (default)")
    assert monitor.interval == timedelta(seconds=settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS)

    Monitor.objects.update(last_ok_at=Now() - DAY)
    account.fake.fail_next(9, fakes.unreachable())
    account.check()
    assert Monitor.objects.late().exists()


def test_all_queues_are_checked_and_each_has_its_line(account: Account) -> None:
    account.die("a")
    account.die("b", fifo=True)

    assert tasks.check_dead_letters() == (
        "default: 1 dead letter, 1 new; all 1 seen; orders: 1 dead letter, 1 new; all 1 seen"
    )


def test_check_reports_missing_dead_letter_queues(settings: Any) -> None:
    settings.QUEUES = {}

    assert tasks.check_dead_letters() == "no dead letter queue is configured"


def test_queue_visited_by_other_check_is_skipped(account: Account) -> None:
    account.die("a")
    [queue, _] = origins.configured()
    DeadLetterQueue.objects.filter(pk=queue.pk).update(scanning_until=Now() + 60 * SECOND)

    checked = check.check_one(queue, Budget(seconds=1))

    assert str(checked) == "default: another check is reading it"
    assert told() == []


def test_dead_check_blocks_queue_only_until_lease_expires(account: Account) -> None:
    account.die("a")
    [queue, _] = origins.configured()
    DeadLetterQueue.objects.filter(pk=queue.pk).update(scanning_until=Now() - SECOND)

    check.check_one(queue, Budget(seconds=1))

    assert len(told()) == 1
    queue.refresh_from_db()
    assert queue.scanning_until is None


def test_names_in_facts_are_truncated(account: Account) -> None:
    for number in range(8):
        account.die_with(factories.job(customer_id=f"C{number}", status=Status.FAILED))

    account.check()

    assert dict(shown_facts(alert().facts))["Affected customers"].endswith("and 3 more")
    assert "and 3 more customers have stopped" in dict(shown_facts(alert().facts))["For support"]


def test_paused_checks_do_not_touch_queues(account: Account) -> None:
    account.die("a")
    pauses.begin(pauses.DEAD_LETTER_CHECKS, by="operator:olga", reason="somebody else reads them")

    assert tasks.check_dead_letters().startswith("default: not read, because dead letter checks are paused")
    assert account.fake.calls == []
    assert told() == []


@pytest.mark.parametrize(("lasting", "late"), [(timedelta(hours=2), False), (None, True)])
def test_only_pause_with_end_time_silences_monitor(
    account: Account, lasting: timedelta | None, late: bool
) -> None:
    account.check()
    Monitor.objects.update(last_ok_at=Now() - timedelta(hours=1))
    pauses.begin(pauses.DEAD_LETTER_CHECKS, by="operator:olga", reason="a redrive by hand", lasting=lasting)

    tasks.check_dead_letters()

    assert bool(monitor_alerts.judge()) is late


def test_message_about_many_checks_has_one_sum(account: Account) -> None:
    """A message said "1 new dead letter. 1 new dead letter. 1 new dead letter." of as many checks."""
    Rule.objects.filter(pk="dlq_not_empty").update(news_interval=timedelta(minutes=15))
    account.die("the first")
    account.check()
    # The time of the database stands still within the transaction of a test.
    earlier = F("told_at") - timedelta(minutes=1)
    Alert.objects.update(told_at=earlier)
    DeadLetter.objects.update(told_at=earlier)
    for number in range(3):
        account.die_with(job(status=Status.FAILED, error_message="TimeoutError" if number else "KeyError"))
        account.check()
    assert alert().held_news == "3 new dead letters, 2 failures not seen before."
