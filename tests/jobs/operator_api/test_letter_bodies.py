"""Dead letters with another body through the operator's API: the guards, the redaction and the audit of the page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.dead_letters import editing, redaction
from jobs.models import DeadLetter, ReplayAttempt
from opsconsole.kit import operator_api
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import people
from tests.factories import dead_letter, job
from tests.operators import WHY, Program, audited

pytestmark = pytest.mark.django_db
ALL = ("letters:read", "letters:edit", "payloads:read")
BODY = '{"order": "4711", "card": "4242 4242"}'


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    settings.OPSCONSOLE_REDACT_PATHS = ["$.card"]
    redaction._paths.cache_clear()
    api_keys.clear_cache()


def test_letter_is_sent_with_the_new_body_and_what_was_hidden() -> None:
    one = dead_letter(body=BODY)
    program = Program(*ALL)
    shown = program.get(f"letters/{one.pk}/body").json()
    assert (shown["will"], "4242" in shown["body"]) == (True, False)
    typed = shown["body"].replace("4711", "4712")

    answer = program.change(f"letters/{one.pk}/edit", shown["version"], body=typed, once="a")

    assert answer.status_code == 200, answer.content
    attempt = ReplayAttempt.objects.get()
    assert json.loads(attempt.edited_body or "") == {"order": "4712", "card": "4242 4242"}
    assert (attempt.actor, attempt.reason) == (f"api:{program.actor.removeprefix('the API key ')}", WHY)
    did = "Replayed with an edited body."
    assert audited() == [(str(one.pk), program.actor, did, WHY, answer.json()["sentence"])]
    again = program.change(f"letters/{one.pk}/edit", shown["version"], body=typed, once="a")
    assert again.json() == answer.json() and ReplayAttempt.objects.count() == 1
    assert program.change(f"letters/{one.pk}/edit", shown["version"], body=typed).status_code == 409


def test_what_the_page_refuses_is_refused(settings: Any) -> None:
    one = dead_letter(body=BODY)
    program = Program(*ALL)
    shown = program.get(f"letters/{one.pk}/body").json()
    known = json.dumps({"job_id": str(job().pk)})
    for body in (shown["body"], "no JSON", " ", '{"a": "\ufffe"}', known, 7, "", "x" * 300_000):
        answer = program.change(f"letters/{one.pk}/edit", shown["version"], body=body)
        assert answer.status_code == 422, (body, answer.content)
    changed = shown["body"].replace("4711", "4712")
    assert program.change(f"letters/{one.pk}/edit", "0" * 32, body=changed).json()["reason"] == "changed"
    of_job = dead_letter(job(status="failed"))
    seen = program.get(f"letters/{of_job.pk}/body").json()
    refused = program.change(f"letters/{of_job.pk}/edit", seen["version"], body=changed)
    assert (seen["will"], refused.status_code, refused.json()["reason"]) == (False, 409, "refused")
    assert seen["sentence"] == editing.KNOWN_JOB, "the page sends people to the payload of the job, too"
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = False
    off = program.get(f"letters/{one.pk}/body").json()
    assert "OPSCONSOLE_EDIT_DEAD_LETTERS" in off["sentence"]
    assert program.change(f"letters/{one.pk}/edit", off["version"], body=changed).status_code == 409
    assert audited() == [] and not ReplayAttempt.objects.exists()


@pytest.mark.parametrize("looks", [1, 2])
def test_letter_that_retention_deletes_meanwhile_is_not_found(
    monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """Before the lock, and after the look that follows it."""
    one = dead_letter(body=BODY)
    program = Program(*ALL)
    shown = program.get(f"letters/{one.pk}/body").json()
    real, looked = operator_api.refuse_if_changed, []

    def deleted_meanwhile(*given: Any) -> None:
        real(*given)
        looked.append(1)
        if len(looked) == looks:
            DeadLetter.objects.all().delete()

    monkeypatch.setattr(operator_api, "refuse_if_changed", deleted_meanwhile)

    answer = program.change(f"letters/{one.pk}/edit", shown["version"], body='{"order": "4712"}')

    assert (answer.status_code, answer.json()["reason"]) == (404, "unknown_letter"), answer.content
    assert answer.json()["detail"].endswith("Nothing was changed.")
    assert audited() == [] and not ReplayAttempt.objects.exists()


def test_scope_alone_edits_nothing_and_opens_no_other_route() -> None:
    one = dead_letter(body=BODY)
    blind = Program("letters:edit")
    assert blind.get(f"letters/{one.pk}/body").json()["scope"] == "payloads:read"
    assert blind.change(f"letters/{one.pk}/edit", "0" * 32, body="{}").json()["scope"] == "payloads:read"
    both = Program("letters:edit", "payloads:read", name="both")
    assert both.change(f"letters/{one.pk}/replay", "0" * 32).json()["reason"] == "scope"
    # Whoever may edit but not replay can't send a letter by it.
    program = Program(*ALL, maker=people.allowed("edit_deadletter", "view_deadletter"), name="no replay")
    assert program.change(f"letters/{one.pk}/edit", "0" * 32, body="{}").json()["reason"] == "permission"
    assert DeadLetter.objects.get().state == "in_queue"
