"""``manage.py rate_limits``, and freeing a client by command, page and API."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from opsconsole.kit import audit
from ratelimits.engine import store
from ratelimits.engine.engine import Engine
from ratelimits.engine.forgotten_counts import StoreAway
from ratelimits.models import LimiterControl, Policy
from ratelimits.policies import policy_cache
from tests import people
from tests.keys import key, sent
from tests.sending import send, versions_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("live_policies")]

ADDRESS = "address:203.0.113.7"
FREE = f"{reverse('admin:ratelimits_ratelimithour_free')}?{urlencode({'key': ADDRESS})}"
CLIENT = f"{reverse('admin:ratelimits_ratelimithour_client')}?{urlencode({'key': ADDRESS})}"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    call_command("rate_limits", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def use_up(client: str = ADDRESS, *names: str) -> None:
    for name in names or ("strict",):
        while store.check(name, client).allowed:
            pass


def allowed(client: str = ADDRESS, name: str = "strict") -> bool:
    return store.check(name, client).allowed


def lines() -> list[str]:
    told = [audit.parts_of(line) for line in LogEntry.objects.order_by("pk")]
    return [f"{line.did}\nWhy: {line.why}" + f"\nResult: {line.result}" * bool(line.result) for line in told]


def test_policies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "list")
    assert listed["mode"] == "enforce"
    strict = next(each for each in listed["policies"] if each["name"] == "strict")
    assert (strict["limit"], strict["window_seconds"], strict["mode"]) == (10, 60, "enforce")
    call_command("rate_limits", "list")
    assert "strict: enforce, 10 per minute, views that name it" in capsys.readouterr().out


def test_policy_is_edited_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    people.operator()
    done = run(
        capsys,
        "edit",
        "strict",
        "--set",
        "limit=12",
        "--set",
        "methods=post, put",
        "--reason",
        "busy",
        "--as",
        "olga",
    )
    assert done == {"policy": "strict", "changed": "Limit: 10 to 12; Methods: none to POST, PUT"}
    policy = Policy.objects.get(name="strict")
    assert (policy.limit, policy.methods, policy.changed_by) == (12, ["POST", "PUT"], "olga")
    assert lines() == ["Limit: 10 to 12; Methods: none to POST, PUT. By olga with a command.\nWhy: busy"]
    assert run(capsys, "edit", "strict", "--set", "limit=12", "--reason", "again")["changed"] == ""
    assert len(lines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["disable", "nothing", "--reason", "x"],
            "There is no policy 'nothing'. Policies: api-key, limits-check",
        ),
        (["disable", "strict"], "Give a --reason"),
        (["edit", "strict", "--reason", "x"], "Say what to change"),
        (["edit", "strict", "--reason", "x", "--set", "limit"], "Say what to change"),
        (["edit", "strict", "--reason", "x", "--set", "limit=many"], "is not a whole number"),
        (["edit", "strict", "--reason", "x", "--set", "limit=0"], "Enter a limit from 1"),
        (["edit", "strict", "--reason", "x", "--set", "name=other"], "There is no field 'name'"),
        (["edit", "strict", "--reason", "x", "--set", "mode=perhaps"], "not a valid choice"),
        (["edit", "strict", "--reason", "x", "--set", "deny_networks=everybody"], "is not a network"),
        (
            ["edit", "strict", "--reason", "x", "--set", "deny_networks=64:ff9b::/96"],
            "Enter IPv4 networks instead",
        ),
        (["edit", "strict", "--reason", "x", "--set", "limit=5", "--set", "limit=6"], "limit is set twice"),
        (["free", "203.0.113.0/24", "--reason", "x"], "is a network of several clients"),
        (["free", "address:2001:db8::/32", "--reason", "x"], "is a network of several clients"),
        (["free", "somebody", "--reason", "x"], "Name one client"),
        (["free", ADDRESS, "--reason", "x", "--policy", "nothing"], "There is no policy 'nothing'"),
        (["free", ADDRESS], "Give a --reason"),
    ],
)
def test_wrong_command_changes_nothing_and_says_why(arguments: list[str], sentence: str) -> None:
    before = list(Policy.objects.values())
    with pytest.raises(CommandError, match=sentence):
        call_command("rate_limits", *arguments)
    assert list(Policy.objects.values()) == before
    assert not LogEntry.objects.exists()


def test_modes_are_set_while_the_store_is_away(capsys: pytest.CaptureFixture[str], settings: Any) -> None:
    settings.OPSCONSOLE_RATE_LIMIT_STORE = "redis://127.0.0.1:9"
    store.reset()
    run(capsys, "disable", "strict", "--reason", "x")
    run(capsys, "enable", "strict", "--mode", "shadow", "--reason", "x")
    run(capsys, "mode", "off", "--reason", "x")
    assert run(capsys, "mode", "off", "--reason", "x")["changed"] is False
    assert Policy.objects.get(name="strict").mode == "shadow"
    assert LimiterControl.load().mode == "off"
    assert [line.partition(".")[0] for line in lines()] == [
        "Mode: enforce to off",
        "Mode: off to shadow",
        "Mode: enforce to off",
    ]
    run(capsys, "mode", "enforce", "--reason", "x")
    with pytest.raises(CommandError, match="The store does not answer, so nothing was freed"):
        call_command("rate_limits", "free", ADDRESS, reason="x")
    assert len(lines()) == 4


def test_who_is_no_user_is_recorded_under_an_account_that_nobody_can_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(capsys, "disable", "strict", "--reason", "x", "--as", "root")
    line = LogEntry.objects.get()
    assert line.user.username == "(program)" and "By root with a command." in line.get_change_message()
    assert not line.user.is_active and not line.user.has_usable_password() and not line.user.is_staff
    assert User.objects.filter(username="root").count() == 0


@pytest.mark.parametrize("written", ["203.0.113.7", ADDRESS, "::ffff:203.0.113.7", "[203.0.113.7]:4000"])
def test_client_is_freed_by_command(capsys: pytest.CaptureFixture[str], written: str) -> None:
    use_up(ADDRESS, "strict", "standard")
    freed = run(capsys, "free", written, "--reason", "a mistake")
    assert freed == {"client": ADDRESS, "freed": {"strict": 10, "standard": 100}}
    assert allowed() and allowed(name="standard")
    told = "Why: a mistake\nResult: Forgotten: 10 requests under strict, 100 requests under standard."
    assert lines()[0].endswith(told)


def test_freeing_by_command_in_the_name_of_a_user_names_the_user_of_the_operating_system(
    capsys: pytest.CaptureFixture[str],
) -> None:
    User.objects.create_user("ada")
    use_up()
    run(capsys, "free", ADDRESS, "--as", "ada", "--reason", "x")
    assert audit.who(LogEntry.objects.latest("pk")) == f"ada, {audit.command_actor('ada')}"


def test_client_is_freed_under_one_policy_only(capsys: pytest.CaptureFixture[str]) -> None:
    use_up(ADDRESS, "strict", "standard")
    assert run(capsys, "free", ADDRESS, "--policy", "strict", "--reason", "x")["freed"] == {"strict": 10}
    assert allowed() and not allowed(name="standard")
    assert run(capsys, "free", "address:198.51.100.7", "--reason", "x")["freed"] == {}


def test_other_processes_stop_refusing_a_freed_client(capsys: pytest.CaptureFixture[str]) -> None:
    """Each process remembers whom it refuses: freeing reaches those memories by the version of the policies."""
    use_up()
    memory = store._engine.blocked
    policy = policy_cache.current().get("strict")
    assert memory.seconds_left(f"rl:strict:{ADDRESS}", policy) > 0
    other_process = policy_cache._state.policies
    run(capsys, "free", ADDRESS, "--reason", "x")

    # What a process that was not asked has: its policies as read before, and its own memory.
    policy_cache._state.policies, policy_cache._state.check_at = other_process, 0
    memory.add(f"rl:strict:{ADDRESS}", policy, store._engine.clock() + 60)
    policy_cache.refresh()
    assert store.check("strict", ADDRESS).allowed


def test_client_is_not_freed_where_each_process_counts_for_itself(settings: Any) -> None:
    """Free without a shared store: before, the command said that it was done, and no web process had heard of it."""
    strict = policy_cache.current().get("strict")
    with pytest.raises(StoreAway, match="Nothing was freed"):
        Engine(None, processes=2).free([strict], ADDRESS)
    assert Engine(None, processes=1).free([strict], ADDRESS) == [0]

    settings.OPSCONSOLE_RATE_LIMIT_STORE = None
    with pytest.raises(CommandError, match="Nothing was freed"):
        call_command("rate_limits", "free", ADDRESS, reason="x")
    assert not LogEntry.objects.exists()


def test_client_is_freed_on_its_page_with_a_reason(operator: Client) -> None:
    use_up()
    assert "Give a reason" in send(operator, FREE, {"reason": "", "policy": ""}, page=CLIENT).content.decode()
    assert not allowed()
    older = versions_on(operator.get(CLIENT)) | {"reason": "again", "policy": ""}
    done = send(operator, FREE, {"reason": "a mistake", "policy": ""}, page=CLIENT, follow=True)
    assert "Freed. Forgotten: 10 requests under strict." in done.content.decode()
    assert allowed()
    line = LogEntry.objects.get()
    assert (line.user.username, line.object_id) == ("olga", ADDRESS)

    use_up()
    refused = operator.post(FREE, older)
    assert refused.status_code == 409 and "olga changed this" in refused.content.decode()
    assert not allowed()


def test_freeing_needs_its_permission(client: Client) -> None:
    client.force_login(people.viewer())
    assert "Free this client" not in client.get(CLIENT).content.decode()
    assert client.post(FREE, {"reason": "x"}).status_code == 403
    client.force_login(people.allowed("free_client"))
    assert "Free this client" in client.get(CLIENT).content.decode()
    assert send(client, FREE, {"reason": "x"}, page=CLIENT).status_code == 302


def test_figures_of_a_client_stand_above_the_form_that_frees_it(operator: Client) -> None:
    page = operator.get(CLIENT).content.decode()
    assert page.index('href="#free"') < page.index('class="headline"') < page.index("Policies that apply")
    assert page.index("Policies that apply") < page.index('id="free"')
    # What was wrong with an answer is seen at once.
    refused = send(operator, FREE, {"reason": "", "policy": ""}, page=CLIENT).content.decode()
    assert refused.index("Give a reason") < refused.index('class="headline"')


def test_client_of_another_service_is_freed_by_the_api(client: Client) -> None:
    use_up("check:customer-1")
    body = {"client": "check:customer-1", "policy": "strict", "reason": "import done"}
    free = "/api/limits/free"
    with_scope, without = key(scopes=["limits:free"])[1], key("other", scopes=["limits:check"])[1]

    assert client.post(free, body, content_type="application/json", headers=sent(without)).status_code == 403
    assert not allowed("check:customer-1")
    answer = client.post(free, body, content_type="application/json", headers=sent(with_scope))
    assert answer.json() == {"client": "check:customer-1", "freed": {"strict": 10}}
    assert allowed("check:customer-1")
    assert lines()[0].startswith("Freed by the API key shop (…") and "Why: import done" in lines()[0]


def test_exit_code_of_a_refusal_is_one() -> None:
    with pytest.raises(CommandError) as caught:
        call_command("rate_limits", "disable", "nothing", reason="x")
    assert caught.value.returncode == 1
