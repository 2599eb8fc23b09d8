"""A program walks through the operator's API behind nginx and pgbouncer, with a key that an administrator made by command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests import factories
from tests.field.console import NAME, Console
from tests.field.visitor import Answer, Visitor

SCOPES = (
    "jobs:read",
    "jobs:operate",
    "letters:read",
    "letters:operate",
    "letters:edit",
    "payloads:read",
    "alerts:read",
    "alerts:operate",
)
WHY = "the address service is back"


def change(version: str, **more: object) -> dict[str, object]:
    return {"reason": WHY, "version": version} | more


@pytest.fixture
def console(console: Console) -> Console:
    """Return the console with editing of dead letters switched on."""
    return replace(console, environment=dict(console.environment) | {"OPSCONSOLE_EDIT_DEAD_LETTERS": "true"})


def test_program_lists_shows_and_changes_everything(console: Console, visitor: Visitor) -> None:
    from alerts.models import Alert

    with console.database.as_default():
        jobs = [factories.job(status="failed") for _ in range(3)] + [factories.job()]
        letter = factories.dead_letter(body='{"order": 4218}')
        alert = Alert.objects.create(fingerprint="f-1", severity="critical", title="Dead letters")
    made = console.run(
        "api_keys",
        "create",
        "deploys",
        "--account",
        NAME,
        "--reason",
        WHY,
        *(word for each in SCOPES for word in ("--scope", each)),
    )
    assert made.returncode == 0, made.stderr
    [secret] = [word for word in made.stdout.split() if word.startswith("ock_")]

    def ask(path: str, body: object = None) -> Answer:
        return visitor.api("GET" if body is None else "POST", f"/api/operator/{path}", secret, body)

    failed, listed = jobs[0], ask("jobs?status=failed&limit=2").json()
    rest = ask(f"jobs?status=failed&limit=2&after={listed['next']}").json()
    assert {each["id"] for each in listed["jobs"] + rest["jobs"]} == {str(each.pk) for each in jobs[:3]}
    assert rest["next"] is None

    shown = ask(f"jobs/{failed.pk}").json()
    assert {step["action"]: step["will"] for step in shown["actions"]}["requeue"] is True
    requeued = ask(f"jobs/{failed.pk}/requeue", change(shown["job"]["version"]))
    assert (requeued.status, requeued.json()["job"]["run"]) == (200, 2), requeued.text
    stale = ask(f"jobs/{failed.pk}/requeue", change(shown["job"]["version"]))
    assert (stale.status, stale.json()["reason"]) == (409, "changed")

    preview = ask("bulk", {"action": "requeue", "filters": {"status": "failed"}}).json()["operation"]
    assert (preview["state"], preview["will"]) == ("preview", 2)
    begun = ask(f"bulk/{preview['number']}/confirm", change(preview["version"], will=2))
    assert (begun.status, begun.json()["state"]) == (200, "running"), begun.text
    assert [each["number"] for each in ask("bulk/all").json()["operations"]] == [preview["number"]]

    waiting = ask(f"jobs/{jobs[3].pk}").json()["job"]
    cancelled = ask(f"jobs/{jobs[3].pk}/cancel", change(waiting["version"]))
    assert (cancelled.status, cancelled.json()["job"]["status"]) == (200, "cancelled"), cancelled.text

    [found] = ask("letters").json()["letters"]
    assert found["id"] == str(letter.pk)
    body = ask(f"letters/{letter.pk}/body").json()
    edited = ask(f"letters/{letter.pk}/edit", change(body["version"], body='{"order": 4219}'))
    assert (edited.status, edited.json()["letter"]["state"]) == (200, "replaying"), edited.text

    [open_alert] = ask("alerts").json()["alerts"]
    done = ask(f"alerts/{alert.pk}/acknowledge", change(open_alert["version"]))
    assert done.status == 200, done.text
    assert ask("pauses").json()["reason"] == "scope"
    told = console.database.value("SELECT count(*) FROM django_admin_log")
    assert told >= 5
