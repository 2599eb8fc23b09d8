"""Tests of the page Verification, and of the first steps on an overview without jobs."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from jobs.models import RecoveryControl
from opsconsole.kit.models import Verification
from opsconsole.sign_in import roles
from opsconsole.verification import first_run, record, running, table
from opsconsole.verification.check import Check, Judgement, Verdict, Wishes, ok, wrong
from tests import people
from tests.factories import job
from tests.opsconsole.sign_in.test_roles import member
from tests.waiting import wait_until

PAGE = reverse("admin:opsconsole_verification_changelist")


def answers(*judgements: Judgement) -> list[running.Result]:
    def check(number: int) -> Check:
        return Check(name=f"check-{number}", question="Is it?", judge=lambda _: ok(""), action="Look.")

    return [running.Result(check(number), each) for number, each in enumerate(judgements)]


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(people.operator("root"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("role", [roles.VIEWER, roles.OPERATOR])
def test_only_administrators_see_it_and_begin_it(client: Client, role: str) -> None:
    client.force_login(member(role, "vera"))

    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE).status_code == 403
    assert not Verification.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_administrator_begins_it_and_reads_the_answers(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    told: list[Wishes] = []

    def judge(wishes: Wishes) -> Judgement:
        told.append(wishes)
        return wrong("The moon is gone.", "Fetch another moon.")

    monkeypatch.setattr(
        table, "CHECKS", (Check(name="moon", question="Is it there?", judge=judge, action="Look."),)
    )
    client.force_login(people.operator("root"))

    client.post(PAGE, {"letter": "on"})

    wait_until(lambda: not record.going_on(), timeout=30, what="the end of the verification")
    assert told == [Wishes(by="root", letter=True, channels=False)]
    page = client.get(PAGE).content.decode()
    assert "The moon is gone." in page
    assert "Fetch another moon." in page
    line = LogEntry.objects.get(change_message__startswith="Began to verify the installation")
    assert line.change_message == "Began to verify the installation, with a probe letter."


@pytest.mark.django_db
def test_two_verifications_never_go_on_together(root: Client) -> None:
    record.begin("somebody")

    answer = root.post(PAGE, follow=True)

    assert "goes on already" in answer.content.decode()
    assert Verification.objects.count() == 1


@pytest.mark.django_db
def test_overview_without_jobs_teaches_the_next_step(root: Client) -> None:
    index = reverse("admin:index")
    assert "it says what works, and what to do next" in root.get(index).content.decode()

    doubt = Judgement(Verdict.UNKNOWN, "Who knows.", "Ask.")
    found = answers(ok("Well."), doubt, wrong("No schedule.", "Run sync_schedules."))
    record.keep(record.begin("root"), found, ended=True)
    assert "Next: No schedule.</strong> Run sync_schedules." in root.get(index).content.decode()

    record.keep(record.begin("root"), answers(ok("Well.")), ended=True)
    assert "The installation works." in root.get(index).content.decode()

    job()
    assert "First steps" not in root.get(index).content.decode()


def test_what_is_wrong_comes_before_what_is_unknown() -> None:
    results: Any = [
        {"verdict": "unknown", "check": "a"},
        {"verdict": "ok", "check": "b"},
        {"verdict": "wrong", "check": "c"},
    ]

    assert [each["check"] for each in first_run.steps_of(results)] == ["c", "a"]
