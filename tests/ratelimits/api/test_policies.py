"""Limits through the operator's API: the checks of the page of a policy, with its audit."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from opsconsole.kit import audit
from ratelimits.keys import api_keys
from ratelimits.models import LimiterControl, Policy
from tests import people, presets
from tests.operators import WHY, Program, audited
from tests.racing import race
from tests.sending import versions_on

pytestmark = pytest.mark.django_db
ALL = ("limits:read", "limits:operate")


@pytest.fixture(autouse=True)
def _no_keys() -> None:
    api_keys.clear_cache()


def seen(program: Program, name: str = "relaxed") -> str:
    return {each["name"]: str(each["version"]) for each in program.get("limits").json()["policies"]}[name]


def test_change_leaves_the_same_line_as_the_page(client: Client) -> None:
    client.force_login(people.operator())
    one = Policy.objects.get(name="relaxed")
    page = reverse("admin:ratelimits_policy_change", args=[one.pk])
    form = client.get(page).context["adminform"].form
    fields = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    client.post(page, fields | versions_on(client.get(page)) | {"limit": 900, "reason": WHY})
    assert Policy.objects.get(name="relaxed").limit == 900
    program = Program(*ALL)

    answer = program.change("limits/policies/relaxed", seen(program), fields={"limit": 800})

    assert answer.status_code == 200, answer.content
    assert (answer.json()["did"], answer.json()["policy"]["limit"]) == ("Limit: 900 to 800", 800)
    of_page, of_program = audited()
    assert of_page[2:] == ("Limit: 1000 to 900.", WHY, "") and of_program[2:] == (
        "Limit: 900 to 800.",
        WHY,
        "",
    )
    assert (of_page[0], of_page[1]) == (of_program[0], "olga") and of_program[1] == program.actor
    assert Policy.objects.get(name="relaxed").changed_by == program.actor
    nothing = program.change("limits/policies/relaxed", seen(program), fields={"limit": 800})
    assert (nothing.status_code, nothing.json()["did"], len(audited())) == (200, "", 2)


def test_stale_view_and_what_the_page_refuses() -> None:
    program = Program(*ALL)
    before = seen(program)
    Policy.objects.filter(name="relaxed").update(limit=7)
    stale = program.change("limits/policies/relaxed", before, fields={"limit": 800})
    assert (stale.status_code, stale.json()["current"]["limit"]) == (409, 7)
    now = seen(program)
    refused: list[Any] = [
        {"limit": 0}, {"limit": 10**30}, {"limit": "8"}, {"limit": 50_000}, {"name": "x"}, {"mode": "on"},
        {"methods": ["FETCH"]}, {"path_prefixes": ["api"]}, {"deny_networks": ["1.2.3"]}, {"deny_networks": ["a\0"]},
        {"allow_networks": ["10.0.0.0/8"] * 1001}, [], None,
    ]  # fmt: skip
    for fields in refused:
        assert program.change("limits/policies/relaxed", now, fields=fields).status_code == 422, fields
    assert program.change("limits/policies/other", now, fields={"limit": 8}).status_code == 404
    assert audited() == [] and Policy.objects.get(name="relaxed").limit == 7


def test_what_would_lock_people_out_has_to_be_confirmed() -> None:
    program = Program(*ALL)
    strict = {"limit": 1, "window_seconds": 86_400, "path_prefixes": ["/admin/"], "mode": "enforce"}

    refused = program.change("limits/policies/relaxed", seen(program), fields=strict)

    assert (refused.status_code, refused.json()["reason"]) == (422, "locks_out")
    assert "people at the login" in refused.json()["detail"]
    confirmed = program.change("limits/policies/relaxed", seen(program), fields=strict, confirm="relaxed,me")
    assert confirmed.status_code == 200, confirmed.content


def test_mode_is_switched_as_on_the_page() -> None:
    program = Program(*ALL)
    mode = program.get("limits").json()["mode"]
    assert mode["mode"] == "enforce"

    answer = program.change("limits/mode", mode["version"], mode="shadow")

    assert (answer.status_code, answer.json()["mode"]["mode"]) == (200, "shadow")
    assert audited() == [
        (
            "1",
            program.actor,
            "Rate limits are in shadow mode: requests above a limit are recorded but allowed.",
            WHY,
            "mode: enforce to shadow",
        )
    ]
    assert program.change("limits/mode", mode["version"], mode="off").json()["reason"] == "changed"
    same = program.change("limits/mode", answer.json()["mode"]["version"], mode="shadow")
    assert (same.status_code, same.json()["reason"]) == (409, "refused")
    assert LimiterControl.load().changed_by == program.actor


def test_mode_is_not_shown_without_the_permission_of_its_page() -> None:
    maker = people.viewer("vito")
    maker.user_permissions.remove(*maker.user_permissions.filter(codename="view_limitercontrol"))
    assert Program("limits:read", maker=maker).get("limits").json()["mode"] is None


@pytest.mark.django_db(transaction=True)
def test_of_two_changes_at_once_the_second_learns_of_the_first() -> None:
    presets.write()
    program = Program(*ALL)
    version = seen(program)
    limits: list[dict[str, Any]] = [{"limit": 700}, {"limit": 600}]

    answers = race(
        [partial(program.change, "limits/policies/relaxed", version, fields=each) for each in limits]
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    [line] = audited()
    assert line[2] in {"Limit: 1000 to 700.", "Limit: 1000 to 600."}
    assert audit.PROGRAM not in line[1]
