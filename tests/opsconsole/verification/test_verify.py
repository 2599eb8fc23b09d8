"""Tests of ``verify``: what a check may answer, and that no check can stop or hide another."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from threading import Event
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import OperationalError

from opsconsole.kit.models import Verification
from opsconsole.sign_in import roles
from opsconsole.verification import configuration, database, record, running, services, table
from opsconsole.verification.check import Check, Judgement, Problem, Verdict, Wishes, of, ok, unknown, wrong
from opsconsole_worker import sqs
from ratelimits.engine.store_facts import StoreFacts
from tests.conftest import TestQueue

WISHES = Wishes()


def check(judge: Any, *, limit: timedelta = timedelta(seconds=20)) -> Check:
    return Check(name="it", question="Is it?", judge=judge, action="Look.", limit=limit)


def verify(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the command; return its exit code and the answers by name."""
    output, code = StringIO(), 0
    try:
        call_command("verify", *arguments, "--json", stdout=output)
    except SystemExit as end:
        code = int(str(end.code))
    return code, {each["check"]: each for each in json.loads(output.getvalue())}


# An installation without schedules and people is not well, and every line says what to do.
@pytest.mark.django_db(transaction=True)
def test_every_check_answers_and_says_what_to_do(sqs_queue: TestQueue) -> None:
    code, answers = verify()

    assert list(answers) == table.names()
    assert code == 1
    assert {name for name, each in answers.items() if each["verdict"] == "wrong"} >= {"people", "schedules"}
    fine = {
        "settings",
        "database",
        "migrations",
        "sessions",
        "grants",
        "store",
        "permissions",
        "clocks",
        "outbox",
    }
    assert {name for name, each in answers.items() if each["verdict"] == "ok"} >= fine
    assert all(each["action"] for each in answers.values() if each["verdict"] != "ok")
    kept = Verification.objects.get()
    assert [each["check"] for each in kept.results] == table.names()
    assert LogEntry.objects.filter(change_message__startswith="Verified the installation: ").exists()


@pytest.mark.django_db(transaction=True)
def test_chosen_checks_are_carried_out_alone_and_not_kept(sqs_queue: TestQueue) -> None:
    code, answers = verify("--only", "clocks", "--only", "migrations")

    assert (code, list(answers)) == (0, ["migrations", "clocks"])
    assert not Verification.objects.exists()


def test_a_check_that_fails_hangs_or_finds_no_database_is_unknown() -> None:
    released = Event()

    def hang(_: Wishes) -> Judgement:
        released.wait()
        return ok("late")

    def fail(_: Wishes) -> Judgement:
        raise ZeroDivisionError("of all things")

    def lose(_: Wishes) -> Judgement:
        raise OperationalError("connection refused")

    checks = [
        check(hang, limit=timedelta(seconds=0.2)),
        check(fail),
        check(lose),
        check(lambda _: ok("Well.")),
    ]
    try:
        results = list(running.carry_out(checks, WISHES))
    finally:
        released.set()

    assert [result.verdict for result in results] == [Verdict.UNKNOWN] * 3 + [Verdict.OK]
    assert "of all things" in results[1].judgement.sentence
    assert "connection refused" in results[2].judgement.sentence
    assert {result.judgement.action for result in results[:3]} == {"Look."}


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([Verdict.OK, Verdict.SKIPPED], 0),
        ([Verdict.OK, Verdict.UNKNOWN], 3),
        ([Verdict.UNKNOWN, Verdict.WRONG], 1),
    ],
)
def test_exit_code_tells_wrong_from_unknown(verdicts: list[Verdict], code: int) -> None:
    results = [running.Result(check(None), Judgement(verdict, "")) for verdict in verdicts]

    assert running.exit_code(results) == code


def test_what_could_not_be_judged_is_never_well() -> None:
    doubt, problem = Problem("Who knows.", "Ask."), Problem("It is broken.", "Mend it.")

    assert of([], [doubt], fine="Well.") == unknown("Who knows.", "Ask.")
    assert of([problem], [doubt], fine="Well.") == wrong("It is broken. Who knows.", "Mend it. Ask.")
    assert of([], fine="Well.") == ok("Well.")


@pytest.mark.parametrize(
    ("facts", "secret", "verdict"),
    [
        ({}, True, Verdict.OK),
        ({"eviction": "allkeys-lru"}, True, Verdict.WRONG),
        ({"keeps": False}, True, Verdict.WRONG),
        ({"keeps": None}, True, Verdict.UNKNOWN),
        ({}, False, Verdict.WRONG),
    ],
)
def test_store_must_keep_counts_in_production(facts: dict[str, Any], secret: bool, verdict: Verdict) -> None:
    told = replace(StoreFacts(eviction="noeviction", keeps=True, time=datetime.now(UTC)), **facts)

    assert services.judge_store(told, production=True, secret=secret).verdict == verdict


def test_clocks_may_differ_a_little() -> None:
    well = services.judge_offsets({"the store": timedelta(seconds=-3)}, [])
    behind = services.judge_offsets({"the store": timedelta(minutes=-3)}, [])
    ahead = services.judge_offsets({"SQS": timedelta(minutes=3)}, [])

    assert well.verdict == Verdict.OK
    assert behind.sentence == "The clock of the store is 3 min behind this host's."
    assert ahead.sentence == "The clock of SQS is 3 min ahead of this host's."


@pytest.mark.parametrize(
    ("status", "verdict"), [(200, Verdict.OK), (503, Verdict.WRONG), (404, Verdict.WRONG)]
)
def test_public_address_must_be_ready(status: int, verdict: Verdict) -> None:
    assert configuration.judge_readiness("https://ops.example.com", status, "{}").verdict == verdict


def test_tried_permissions_touch_no_message(sqs_queue: TestQueue) -> None:
    sqs.send_raw(sqs_queue.url, "a real message")
    sqs.send_raw(sqs_queue.dlq_url, "a real letter")

    assert services.permissions_suffice(WISHES).verdict == Verdict.OK

    for url in (sqs_queue.url, sqs_queue.dlq_url):
        depth = sqs.depth(url)
        assert (depth.visible, depth.in_flight, depth.delayed) == (1, 0, 0)
        [message] = sqs.receive(url, wait_seconds=0)
        assert message.receive_count == 1


def test_only_what_the_console_needs_must_be_allowed() -> None:
    def answer(action: sqs.Action, *, needed: bool) -> services.Needed:
        return services.Needed("https://sqs/jobs", sqs.Tried(action, allowed=False, why="no policy"), needed)

    for_workers = services.judge_permissions([answer(sqs.Action.RECEIVE, needed=False)], [])
    needed = services.judge_permissions([answer(sqs.Action.SEND, needed=True)], [])
    doubt = services.judge_permissions([], [Problem("It can't be reached.", "Look.")])

    assert for_workers.verdict == Verdict.OK
    assert "Only workers need more: sqs:ReceiveMessage is denied here." in for_workers.sentence
    assert needed.sentence == "sqs:SendMessage is denied on https://sqs/jobs: no policy."
    assert (needed.verdict, doubt.verdict) == (Verdict.WRONG, Verdict.UNKNOWN)


@pytest.mark.django_db
def test_a_role_without_its_permissions_is_named() -> None:
    Group.objects.get(name=roles.OPERATOR).permissions.clear()

    told = database.people_can_work(WISHES)

    assert "The role Operator lacks" in told.sentence
    assert "Nobody can log in" in told.sentence


@pytest.mark.django_db
def test_only_the_last_verifications_are_kept() -> None:
    newest = [record.begin("ada") for _ in range(record.KEPT + 2)][-1]

    assert Verification.objects.count() == record.KEPT
    assert record.last() == newest
    assert record.going_on()
    record.keep(newest, [], ended=True)
    Verification.objects.exclude(pk=newest.pk).update(ended_at=datetime.now(UTC))
    assert not record.going_on()
