"""Freeing a client where the store is told to forget it, and does not confirm it: by command, API and page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from ratelimits.engine import store
from ratelimits.models import LimiterControl
from tests.fakes.store import ODD_ANSWERS, Command, OddStore, answering, counting_nothing
from tests.keys import key, sent
from tests.ratelimits.management.test_rate_limits import ADDRESS, CLIENT, FREE, lines
from tests.sending import send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("live_policies")]


@pytest.fixture
def forgetful() -> Iterator[OddStore]:
    """A store that answers well, and says nothing when it is told to forget a client."""

    def answer(command: Command) -> bytes:
        return ODD_ANSWERS["silence"] if command[0] == b"DEL" else counting_nothing(command)

    with answering(answer) as odd_store:
        yield odd_store


def test_freeing_whose_answer_is_lost_is_told_as_unknown(
    operator: Client, forgetful: OddStore, settings: Any
) -> None:
    settings.OPSCONSOLE_RATE_LIMIT_STORE = forgetful.url
    store.reset()
    before = LimiterControl.load().freed
    with pytest.raises(CommandError, match="it is unknown whether the client was freed"):
        call_command("rate_limits", "free", ADDRESS, reason="x")
    assert [command[0] for command in forgetful.asked][-1] == b"DEL"
    # Whoever remembers the client as blocked asks the store, which may have forgotten it.
    assert LimiterControl.load().freed == before + 1
    [line] = lines()
    assert line.startswith("Freeing begun by") and "Result: Unknown: the store did not confirm it." in line

    headers = sent(key(scopes=["limits:free"])[1])
    body = {"client": ADDRESS, "reason": "x"}
    answer = operator.post("/api/limits/free", body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["outcome"]) == (503, "unknown")

    page = send(operator, FREE, {"policy": "", "reason": "x"}, page=CLIENT, follow=True).content.decode()
    assert "it is unknown whether the client was freed" in page and "Freed." not in page
    assert [line.partition(" by ")[0] for line in lines()] == ["Freeing begun"] * 3


def test_store_that_refuses_to_forget_has_freed_nothing(forgetful: OddStore, settings: Any) -> None:
    settings.OPSCONSOLE_RATE_LIMIT_STORE = forgetful.url
    store.reset()
    usual = forgetful.answer
    forgetful.answer = lambda command: (
        b"-READONLY no\r\n" * (len(command) - 1) if command[0] == b"DEL" else usual(command)
    )
    with pytest.raises(
        CommandError, match="The store refuses to forget what the client used, so nothing was freed"
    ):
        call_command("rate_limits", "free", ADDRESS, "--policy", "strict", reason="x")
    assert lines() == []
