"""``manage.py api_keys``: the same rules as on the page API keys, with the same audit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.test import RequestFactory

from opsconsole.kit import audit
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from tests import people

pytestmark = pytest.mark.django_db

WHY = ("--reason", "the shop submits jobs", "--as", "olga")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    call_command("api_keys", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def create(capsys: pytest.CaptureFixture[str], name: str, *options: str, scope: str = "worker") -> Any:
    return run(capsys, "create", name, "--scope", scope, *options, *WHY)


def works(text: str) -> bool:
    return api_keys.authenticate(RequestFactory().get("/", headers={"X-API-Key": text})) is not None


def test_created_key_works_until_it_is_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    made = create(capsys, "shop, production", "--expires", "2027-03-31", scope="jobs:write")
    assert works(made["key"])
    [listed] = run(capsys, "list")
    assert (listed["name"], listed["scopes"], listed["expires_at"][:10]) == (
        "shop, production", ["jobs:write"], "2027-03-31",
    )  # fmt: skip
    assert "key" not in listed
    assert run(capsys, "revoke", "shop, production", *WHY) == {"revoked": [made["id"]]}
    assert not works(made["key"])
    assert run(capsys, "list") == []
    assert [each["id"] for each in run(capsys, "list", "--all")] == [made["id"]]
    lines = audit.with_details(LogEntry.objects.order_by("pk"))
    assert [(audit.parts_of(line).did, audit.parts_of(line).why) for line in lines] == [
        ("Created.", "the shop submits jobs"),
        ("Revoked.", "the shop submits jobs"),
    ]
    assert all(audit.who(line).startswith("olga, as ") for line in lines)


@pytest.mark.parametrize("hidden", ["\x1b", "\n", "\t", "\x7f", "\u200b", "\u202e", "\u2028", "\ufeff"])
def test_name_with_characters_that_nobody_sees_is_refused(
    capsys: pytest.CaptureFixture[str], hidden: str
) -> None:
    with pytest.raises(
        CommandError, match=f"Take out the character U.{ord(hidden):04X}, which can’t be seen"
    ):
        create(capsys, f"shop{hidden}, production")
    assert not ApiKey.objects.exists()
    create(capsys, "Café Blüte, 東京 🛒")
    assert ApiKey.objects.get().name == "Café Blüte, 東京 🛒"


def test_key_for_operators_acts_for_an_account(capsys: pytest.CaptureFixture[str]) -> None:
    people.operator()
    viewer = people.viewer()
    made = create(capsys, "deploys", "--account", "olga", scope="pauses:operate")
    assert made["permissions"] == ["opsconsole.switch", "opsconsole.view_pause"]
    for options, said in (
        ((), "name it with --account"),
        (("--account", "nobody"), "No account 'nobody' may log in"),
        (("--account", "vera"), "Select a valid choice"),
    ):
        with pytest.raises(CommandError, match=said):
            create(capsys, "another", *options, scope="pauses:operate")
    viewer.is_active = False
    viewer.save()
    with pytest.raises(CommandError, match="No account 'vera' may log in"):
        create(capsys, "another", "--account", "vera", scope="pauses:read")


def test_successor_shares_the_lineage(capsys: pytest.CaptureFixture[str]) -> None:
    old = create(capsys, "worker, green")
    new = create(capsys, "worker, blue", "--succeeds", "worker, green")
    assert ApiKey.objects.get(pk=new["id"]).succeeds == ApiKey.objects.get(pk=old["id"]).lineage


def test_key_alone_stands_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("api_keys", "create", "shop", "--scope", "jobs:write", *WHY)
    printed = capsys.readouterr()
    assert works(printed.out.strip())
    assert printed.out.strip() not in printed.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--reason", ""), "reason"),
        (("--policy", "no-such"), "policy"),
        (("--expires", "2001-01-01"), "Enter a day within"),
        (("--expires", "tomorrow"), "date"),
        (("--succeeds", "nobody"), "There is no key 'nobody'"),
    ],
)
def test_what_the_page_refuses_is_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=f"(?i){said}"):
        call_command("api_keys", "create", "shop", "--scope", "jobs:write", *WHY, *options)
    assert not ApiKey.objects.exists()
    assert not LogEntry.objects.exists()


def test_unknown_key_revokes_none_of_those_named(capsys: pytest.CaptureFixture[str]) -> None:
    made = create(capsys, "shop")
    with pytest.raises(CommandError, match="no key 'other'"):
        call_command("api_keys", "revoke", "shop", "other", *WHY)
    api_keys.clear_cache()
    assert works(made["key"])
