"""Pauses through the operator's API: what the page *Controls* does, with its audit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from opsconsole.kit.models import Pause
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import people
from tests.operators import WHY, Program, audited
from tests.racing import race

pytestmark = pytest.mark.django_db
ALL = ("pauses:read", "pauses:operate")
PAGE = reverse("admin:opsconsole_pause_changelist")


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


def seen(program: Program, name: str = "recovery") -> str:
    return {each["name"]: str(each["version"]) for each in program.get("pauses").json()["pauses"]}[name]


def test_pause_and_resume_leave_the_same_lines_as_the_page(client: Client) -> None:
    client.force_login(people.operator())
    for decision in ("pause", "resume"):
        page = client.get(PAGE)
        fields = {"name": "recovery", "decision": decision, "recovery-minutes": "10", "recovery-reason": WHY}
        client.post(PAGE, fields | {"recovery-version": _version_of_form(page, "recovery")})
    program = Program(*ALL)

    begun = program.change("pauses/begin", seen(program), name="recovery", minutes=10)
    assert (begun.status_code, begun.json()["did"]) == (200, "Recovery is paused.")
    assert begun.json()["pause"]["by"] == program.actor
    assert Pause.objects.active().get().until is not None
    ended = program.change("pauses/end", begun.json()["pause"]["version"], name="recovery")
    assert (ended.status_code, ended.json()["pause"]["paused"]) == (200, False)

    lines = audited()
    assert [line[2:] for line in lines[:2]] == [line[2:] for line in lines[2:]]
    assert [line[1] for line in lines] == ["olga", "olga", program.actor, program.actor]
    again = program.change("pauses/end", ended.json()["pause"]["version"], name="recovery")
    assert (again.status_code, again.json()["reason"]) == (409, "refused")


def _version_of_form(page: Any, name: str) -> str:
    [row] = [each for each in page.context["rows"] if each["switch"].name == name]
    return str(row["form"].initial["version"])


def test_list_is_that_of_the_page() -> None:
    Pause.objects.create(
        name="queue:default", began_by="olga", reason="deploy", until=Now() + timedelta(hours=1)
    )
    listed = Program("pauses:read").get("pauses").json()["pauses"]
    assert [each["name"] for each in listed] == ["recovery", "dead letter checks", "queue:default"]
    assert [each["paused"] for each in listed] == [False, False, True]
    assert (listed[2]["by"], listed[2]["reason"]) == ("olga", "deploy")


def test_stale_view_unknown_name_and_wrong_length_are_refused() -> None:
    program = Program(*ALL)
    before = seen(program)
    program.change("pauses/begin", before, name="recovery")

    stale = program.change("pauses/begin", before, name="recovery", minutes=5)
    assert (stale.status_code, stale.json()["current"]["paused"]) == (409, True)
    assert program.change("pauses/begin", before, name="queue:default").status_code == 409
    unknown = program.change("pauses/begin", before, name="everything")
    assert (unknown.status_code, "'queue:default'" in unknown.json()["detail"]) == (404, True)
    for minutes in (0, 10_081, -1, 10**40, "5"):
        assert (
            program.change("pauses/begin", seen(program), name="recovery", minutes=minutes).status_code == 422
        )
    assert len(audited()) == 1


def test_pause_is_shortened_only_where_the_program_says_so() -> None:
    program = Program(*ALL)
    program.change("pauses/begin", seen(program), name="recovery", minutes=60)
    held = Pause.objects.active().get()

    refused = program.change("pauses/begin", seen(program), name="recovery", minutes=5)

    assert (refused.status_code, refused.json()["reason"]) == (409, "refused")
    assert (
        "would end earlier. To let it end earlier on purpose, send `shorten`: true. Nothing was changed."
        in (refused.json()["detail"])
    )
    assert refused.json()["current"]["version"] == seen(program)
    assert Pause.objects.active().get() == held and len(audited()) == 1
    shorter = program.change("pauses/begin", seen(program), name="recovery", minutes=5, shorten=True)
    assert shorter.status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_that_pause_at_once_the_second_learns_of_the_first() -> None:
    program = Program(*ALL)
    version = seen(program)

    answers = race([lambda: program.change("pauses/begin", version, name="recovery")] * 2)

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert Pause.objects.active().count() == len(audited()) == 1
