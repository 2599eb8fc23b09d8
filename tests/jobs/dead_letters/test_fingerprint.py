"""Tests of fingerprints: equal failures have equal fingerprints, whatever varies between letters."""

from __future__ import annotations

import hashlib
import traceback
from typing import Any

import pytest

from jobs.dead_letters.fingerprint import LONGEST_TITLE, Fingerprint, fingerprint, normalise
from jobs.dead_letters.undelivered import Undelivered
from jobs.models import FailureGroup, Status
from opsconsole_worker import PermanentError
from tests.factories import job
from tests.jobs.dead_letters.account import Account, letter

Kind = FailureGroup.Kind


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("KeyError: 'customer-17'", 'KeyError: "…"'),
        ('job_id must be a UUID, not "4111"', 'job_id must be a UUID, not "…"'),
        (r'not "a \" quote" here', 'not "…" here'),
        ("job 5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901 at 0x7f3a", "job <id> at <id>"),
        (
            "GET https://a.example/x?token=7 answered 503 after 12.5 s",
            "GET <address> answered <n> after <n> s",
        ),
        ("mail to ada@example.com bounced", "mail to <e-mail> bounced"),
        ("  line 3:\n column 14  ", "line <n>: column <n>"),
        ("commit deadbeef1", "commit <id>"),
        ("deadlock", "deadlock"),
    ],
)
def test_variable_parts_are_left_out(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_title_of_long_error_is_truncated() -> None:
    assert len(normalise("word " * 10_000)) == LONGEST_TITLE


@pytest.mark.parametrize(
    ("known", "kind", "title"),
    [
        ({"poison": "The body is not JSON: x."}, Kind.UNREADABLE, "The body is not JSON: x."),
        (
            {
                "undelivered": Undelivered(
                    service="EventBridge",
                    code="NO_PERMISSIONS",
                    message="Access denied for 17.",
                    rule="arn:aws:events:eu-west-1:1:rule/orders",
                    addressee="arn:aws:sqs:eu-west-1:1:jobs",
                )
            },
            Kind.NOT_DELIVERED,
            "NO_PERMISSIONS: Access denied for <n>. (EventBridge rule/orders to jobs)",
        ),
        (
            {"undelivered": Undelivered(service="Lambda", code="200", message="boom", addressee="Lambda")},
            Kind.NOT_DELIVERED,
            "200: boom (Lambda)",
        ),
        (
            {"undelivered": Undelivered(service="SNS", addressee="arn:aws:sns:eu-west-1:1:orders")},
            Kind.NOT_DELIVERED,
            "Not delivered by SNS orders",
        ),
        ({"error": "TimeoutError: 30 s"}, Kind.JOB_ERROR, "TimeoutError: <n> s"),
        ({"given": "it broke"}, Kind.GIVEN_REASON, "it broke"),
        ({"is_job": True}, Kind.RECEIVES, "Received too often, without an error being recorded"),
        ({"document": {"b": 1, "a": 2}}, Kind.SHAPE, "A JSON object with a, b"),
        (
            {"document": {str(n): n for n in range(10)}},
            Kind.SHAPE,
            "A JSON object with 0, 1, 2, 3, 4, 5, 6, 7 and 2 more",
        ),
        ({"document": {}}, Kind.SHAPE, "An empty JSON object"),
        ({"document": [1]}, Kind.SHAPE, "A JSON list"),
        ({}, Kind.SHAPE, "Not JSON"),
    ],
)
def test_first_known_reason_is_used(known: dict[str, Any], kind: Kind, title: str) -> None:
    nothing = {"poison": "", "undelivered": None, "error": "", "given": "", "document": None, "is_job": False}

    made = fingerprint(**nothing | known)

    assert (made.kind, made.title) == (kind, title)


def test_error_of_the_library_keeps_its_group_whatever_its_module_is_called() -> None:
    def of_error(error: str) -> Fingerprint:
        return fingerprint(poison="", undelivered=None, error=error, given="", document=None, is_job=False)

    now = "".join(traceback.format_exception_only(PermanentError("account 7 is closed"))).strip()
    assert now == "opsconsole_worker.PermanentError: account 7 is closed"
    names = ("jobs.worker.handlers.", "opsconsole_worker.working.handlers.", "opsconsole_worker.", "")
    made = {of_error(f"{name}PermanentError: account 8 is closed") for name in names}
    assert made == {of_error(now)}
    # As it was computed before the class had a public name, so that open groups go on.
    first = "jobs.worker.handlers.PermanentError: account <n> is closed"
    assert of_error(now).key == hashlib.sha256(f"{Kind.JOB_ERROR}\n{first}".encode()).hexdigest()[:24]
    assert of_error(now).title == "PermanentError: account <n> is closed"
    assert of_error("shop.PermanentError: x").title == "shop.PermanentError: x"


@pytest.mark.django_db
def test_groups_and_notifications_contain_no_bodies(account: Account) -> None:
    failed = [job(status=Status.FAILED, error_message=f"ConnectionError: try {n} failed") for n in range(2)]
    ids = [account.die_with(each) for each in failed]
    [shape] = account.die('{"secret_field": 1}')
    account.check()

    assert letter(ids[0]).group == letter(ids[1]).group
    assert letter(ids[0]).group.public_title == "ConnectionError: try <n> failed"
    assert "secret" in letter(shape).group.title
    assert "secret" not in letter(shape).group.public_title
    assert FailureGroup.objects.count() == 2


@pytest.mark.django_db
def test_letter_of_unknown_job_is_grouped_by_its_reason_attribute(account: Account) -> None:
    body = '{"job_id": "5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901", "reason": "it broke 3 times", "dead_letter_id": "x"}'
    [message_id] = account.die(body)
    account.check()

    assert letter(message_id).group.title == "it broke <n> times"
    assert letter(message_id).group.public_title.startswith("failure group ")
