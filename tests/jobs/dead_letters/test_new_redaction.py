"""Tests of redaction paths that are set later: nothing that was read and stored before shows what they hide."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from alerts.channels import wording
from alerts.models import Alert, Notification
from jobs.bulk import freezing
from jobs.bulk.registry import kind_of
from jobs.dead_letters import check, origins, titles
from jobs.models import BulkMember, BulkOperation, DeadLetter, FailureGroup
from opsconsole.kit import audit, redaction_version
from opsconsole.kit.redaction_version import NOT_READ_AGAIN
from opsconsole_worker.working.poison import POISON_ATTRIBUTE
from tests.factories import dead_letter, failure_group
from tests.jobs.dead_letters.account import OLGA, Account, letter

pytestmark = pytest.mark.django_db

SECRET = "quagga"
EVENTBRIDGE = {
    "RULE_ARN": "arn:aws:events:eu-west-1:1:rule/orders",
    "TARGET_ARN": f"arn:aws:lambda:eu-west-1:1:function:{SECRET}",
    "ERROR_CODE": "NO_PERMISSIONS",
    "ERROR_MESSAGE": f"No access for {SECRET} there.",
}
PATHS = ["$.TARGET_ARN", "$.ERROR_MESSAGE", "$.opsconsole_reason", "$.reason", "$.TopicArn"]


def attributes(**texts: str) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def undelivered(account: Account, body: str = '{"order": 1}', **texts: str) -> str:
    """Put a message on the dead letter queue that was in no queue before."""
    [message_id] = account.die(body, MessageAttributes=attributes(**texts))
    for queue in account.fake.queues.values():
        if message_id in queue.messages:
            queue.messages[message_id].source_arn = None
    return message_id


def filled(account: Account) -> list[DeadLetter]:
    """Store a letter of each kind whose failure is read from it."""
    copy = {"job_id": str(uuid4()), "dead_letter_id": str(uuid4()), "reason": f"no {SECRET} today"}
    notification = {"Type": "Notification", "TopicArn": f"arn:aws:sns:eu-west-1:1:{SECRET}", "Message": "x"}
    [unreadable] = account.die("{", MessageAttributes=attributes(**{POISON_ATTRIBUTE: f"a {SECRET} is here"}))
    ids = [
        unreadable,
        *account.die(json.dumps(copy)),
        undelivered(account, **EVENTBRIDGE),
        undelivered(account, json.dumps(notification)),
    ]
    account.check()
    return [letter(each) for each in ids]


def pages(made: list[DeadLetter]) -> list[str]:
    groups = {each.group_id for each in made}
    [alert] = Alert.objects.filter(fingerprint__startswith="dlq_not_empty")
    replay = "&".join(f"id={each.pk}" for each in made)
    return [
        reverse("admin:jobs_deadletter_changelist"),
        *(reverse("admin:jobs_deadletter_change", args=[each.pk]) for each in made),
        f"{reverse('admin:jobs_deadletter_operate', args=['replay'])}?{replay}",
        reverse("admin:jobs_failuregroup_changelist"),
        *(reverse("admin:jobs_failuregroup_change", args=[group]) for group in groups),
        reverse("admin:alerts_alert_change", args=[alert.pk]),
        *(reverse("admin:jobs_bulkoperation_change", args=[row.pk]) for row in BulkOperation.objects.all()),
        reverse("admin:jobs_bulkoperation_changelist"),
        reverse("admin:admin_logentry_changelist"),
        reverse("admin:audit_export", args=["csv"]),
        reverse("admin:index"),
    ]


def whole(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return str(content.decode())


def quoting(operator: Client, addresses: list[str]) -> list[str]:
    shown = {address: operator.get(address) for address in addresses}
    assert {response.status_code for response in shown.values()} == {200}
    return [address for address, response in shown.items() if SECRET in whole(response)]


def test_nothing_that_was_stored_shows_what_is_hidden_later(
    account: Account, operator: Client, settings: Any
) -> None:
    """Store letters of each kind, hide their values, then read them again: the value is on no page at any time."""
    made = filled(account)
    groups = [FailureGroup.objects.get(pk=each.group_id) for each in made]
    audit.log(User.objects.get(), groups, "Changed the note.", why="x")
    # As a line was written before groups were named by their number.
    old = LogEntry.objects.latest("pk")
    LogEntry.objects.bulk_create(
        [
            LogEntry(
                user=old.user,
                content_type=old.content_type,
                object_id=str(groups[2].pk),
                object_repr=groups[2].title,
                action_flag=2,
            )
        ]
    )
    operation = freezing.freeze(
        kind_of("replay"), DeadLetter.objects.all(), OLGA, scope=f"letters of {groups[2]}"
    )
    BulkOperation.objects.filter(pk=operation.pk).update(state="ended")
    addresses = pages(made)
    assert len(quoting(operator, addresses)) > 10

    settings.OPSCONSOLE_REDACT_PATHS = PATHS

    assert quoting(operator, addresses) == []
    page = whole(operator.get(reverse("admin:jobs_deadletter_change", args=[made[2].pk])))
    # Its own words are read from its body at each look, the title of its group is stored.
    assert "NO_PERMISSIONS: [redacted] (EventBridge rule/orders to [redacted])" in page
    assert "<dt>Not delivered to</dt><dd>[redacted]</dd>" in page
    assert NOT_READ_AGAIN in whole(
        operator.get(reverse("admin:jobs_failuregroup_change", args=[groups[2].pk]))
    )
    for notification in Notification.objects.all():
        assert SECRET not in str(wording._item([notification], notification.created_at))

    assert titles.catch_up(limit=3) == 3
    assert titles.catch_up() == 1
    assert titles.catch_up() == 0
    assert quoting(operator, addresses) == []
    shown = {group.shown_title for group in FailureGroup.objects.all()}
    assert NOT_READ_AGAIN not in shown
    assert "NO_PERMISSIONS: [redacted] (EventBridge rule/orders to [redacted])" in shown
    assert not FailureGroup.objects.filter(title__contains=SECRET).exists()
    later = undelivered(account, **EVENTBRIDGE)
    account.check()
    assert letter(later).group_id == made[2].group_id

    settings.OPSCONSOLE_REDACT_PATHS = []
    assert titles.catch_up() == len(groups)
    assert {group.title for group in FailureGroup.objects.all()} == {group.title for group in groups}


def test_groups_that_differ_only_by_what_is_hidden_both_stay(account: Account, settings: Any) -> None:
    for target in ("one", "two"):
        undelivered(account, **EVENTBRIDGE | {"TARGET_ARN": target})
    account.check()
    settings.OPSCONSOLE_REDACT_PATHS = PATHS

    assert titles.catch_up() == 2

    assert len({group.title for group in FailureGroup.objects.all()}) == 1
    assert FailureGroup.objects.behind().count() == 0
    later = undelivered(account, **EVENTBRIDGE)
    account.check()
    assert FailureGroup.objects.count() == 2 and letter(later).group_id


def test_check_reads_titles_again_and_leaves_those_of_jobs(account: Account, settings: Any) -> None:
    made = filled(account)
    of_job = failure_group("timeout")
    dead_letter(group=of_job)
    settings.OPSCONSOLE_REDACT_PATHS = PATHS
    origins.configured()

    check.check()

    assert not FailureGroup.objects.behind().exists()
    of_job.refresh_from_db()
    assert of_job.shown_title == "timeout"
    assert {each.title_of for each in FailureGroup.objects.filter(letters__in=made)} == {
        redaction_version.current()
    }


def test_upgrade_renames_what_was_stored_before() -> None:
    titles_of = import_module("jobs.migrations.0018_titles_of_a_redaction")
    facts_of = import_module("alerts.migrations.0013_facts_of_a_redaction")
    rows = [
        BulkOperation.objects.create(action="replay", scope=scope, query=query, actor="x")
        for scope, query in (
            (f"undecided letters with the failure: {SECRET}", "group=7"),
            (f"state: Discarded, failure: {SECRET}, search: x", "state=discarded&group=71&q=x"),
            ("search: failure: x", "q=failure%3A+x"),
        )
    ]
    sentences = [
        f"It was on its way to {SECRET}, which is no queue of the console: send it there again.",
        f"SNS could not deliver it to a subscriber of {SECRET}, and the message does not say to which: publish it again.",
        "It is already being replayed.",
    ]
    rows[0].members.bulk_create(
        BulkMember(operation=rows[0], subject="x", sentence=each) for each in sentences
    )
    alert = Alert.objects.create(
        fingerprint="x", severity="info", title="x", facts=[["Newest failures", SECRET], ["Coverage", "all"]]
    )
    with connection.cursor() as cursor:
        for statement in (
            titles_of.NO_TITLE_IN_SCOPE,
            titles_of.NO_ADDRESSEE_IN_SENTENCE,
            *2 * [facts_of.OF_AN_UNKNOWN_REDACTION.format(table="alerts")],
        ):
            cursor.execute(statement)

    assert [row.scope for row in BulkOperation.objects.order_by("pk")] == [
        "dead letters of failure group 7",
        "dead letters of failure group 71",
        "search: failure: x",
    ]
    now = [member.sentence for member in rows[0].members.order_by("pk")]
    named = "a target (see “Not delivered to” on its page)"
    assert now == [
        f"It was on its way to {named}, which is no queue of the console: send it there again.",
        f"SNS could not deliver it to a subscriber of {named}, and the message does not say to which: publish it again.",
        "It is already being replayed.",
    ]
    alert.refresh_from_db()
    assert alert.facts == [["Newest failures", SECRET, ""], ["Coverage", "all"]]
    with connection.cursor() as cursor:
        cursor.execute(facts_of.AS_BEFORE.format(table="alerts"))
    alert.refresh_from_db()
    assert alert.facts == [["Newest failures", SECRET], ["Coverage", "all"]]
