"""Rows that are deleted between two statements of a request: an answer that says so, never 500."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import DeadLetter, Job, Status
from jobs.operator_api import jobs, letter_bodies, letters, payloads
from opsconsole_worker.environment import QueueConfig
from tests.factories import dead_letter, job
from tests.operators import WHY, Program, audited

pytestmark = pytest.mark.django_db
SCOPES = (
    "jobs:read",
    "jobs:operate",
    "jobs:edit",
    "letters:read",
    "letters:operate",
    "letters:edit",
    "payloads:read",
)


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True


def deleting_after(real: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """Return the function, which lets somebody else delete all rows as soon as it has read one."""

    def read(*given: Any) -> Any:
        found = real(*given)
        model.objects.all().delete()
        return found

    return read


@pytest.mark.parametrize(
    ("path", "reads"),
    [
        ("jobs/{}", [(jobs, "load")]),
        ("jobs/{}/requeue", [(jobs, "load")]),
        ("jobs/{}/cancel", [(jobs, "load")]),
        ("jobs/{}/release", [(jobs, "load")]),
        ("jobs/{}/payload", [(payloads, "_look")]),
        ("jobs/{}/edit", [(payloads, "_look")]),
        ("letters/{}", [(letters, "load")]),
        ("letters/{}/replay", [(letters, "load")]),
        ("letters/{}/discard", [(letters, "load")]),
        ("letters/{}/restore", [(letters, "load")]),
        ("letters/{}/body", [(letter_bodies, "_whole")]),
        ("letters/{}/edit", [(letter_bodies, "_whole")]),
    ],
    ids=str,
)
def test_row_that_is_deleted_meanwhile(
    monkeypatch: pytest.MonkeyPatch, path: str, reads: list[tuple[Any, str]]
) -> None:
    program = Program(*SCOPES)
    of_jobs = path.startswith("jobs")
    status = (
        Status.QUARANTINED if "release" in path else Status.PENDING if "cancel" in path else Status.FAILED
    )
    state = DeadLetter.State.DISCARDED if "restore" in path else DeadLetter.State.IN_QUEUE
    one = job(status=status) if of_jobs else dead_letter(state=state)
    read = {"edit": "payload" if of_jobs else "body"}.get(path.rpartition("/")[2], "")
    seen = program.get(
        f"{path.format(one.pk).rpartition('/')[0]}/{read}" if read else f"{path.partition('/')[0]}/{one.pk}"
    ).json()
    version = seen.get("version") or (seen.get("job") or seen.get("letter"))["version"]
    for module, name in reads:
        monkeypatch.setattr(
            module, name, deleting_after(getattr(module, name), Job if of_jobs else DeadLetter)
        )

    if path.count("/") == 1 or path.endswith(("/payload", "/body")):
        answer = program.get(path.format(one.pk))
    else:
        body = (
            {"payload": json.dumps({"a": 1})}
            if path.endswith("jobs/{}/edit")
            else {"body": "{}"}
            if read
            else {}
        )
        answer = program.change(path.format(one.pk), version, **body)
        assert audited() == [], WHY
    assert answer.status_code in {200, 404, 409}, answer.content
    if answer.status_code != 200:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["reason"] in {"gone", "unknown_job", "unknown_letter", "changed"}, answer.json()
