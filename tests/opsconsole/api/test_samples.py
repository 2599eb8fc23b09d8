"""The samples of the operator's API: each runs as the page and the OpenAPI document show it, against the real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client

from alerts.models import Alert
from jobs.bulk import background_freezing, chunks
from jobs.models import BulkOperation, DeadLetter, Job
from opsconsole.api import samples
from opsconsole.api.routes import api
from opsconsole.kit.models import Pause
from ratelimits.keys import api_keys
from ratelimits.models import LimiterControl
from tests import presets
from tests.conftest import TestQueue
from tests.factories import dead_letter, job
from tests.field.installed import installed
from tests.keys import OPERATORS
from tests.operators import Program
from tests.programs import program as running
from tests.serving import gunicorn
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

REPOSITORY = Path(__file__).resolve().parents[3]
SUFFIXES = {"curl": ".sh", "Python": ".py", "TypeScript": ".mjs"}
MARK = "== the next sample =="
# Each runs the files that it is called with.
DRIVERS = {
    "curl": f"""
set -e
for file in "$@"; do
  echo "{MARK}"
  sh "$file"
  echo
done
""",
    "Python": f"""
import runpy, sys
for file in sys.argv[1:]:
    print("{MARK}")
    runpy.run_path(file)
""",
    "TypeScript": f"""
for (const file of process.argv.slice(2)) {{
  console.log("{MARK}");
  await import(file);
}}
""",
}
# An example of a version, as the schemas have it.
VERSION = "9f2c41d07be35a88c1406d2f7e90b6a3"


@pytest.fixture
def address(limiter: None, tmp_path: Path, sqs_queue: TestQueue) -> Iterator[str]:
    presets.write()
    environ = {"SQS_QUEUE_URL": sqs_queue.url, "SQS_DLQ_URL": sqs_queue.dlq_url}
    environ |= {"OPSCONSOLE_EDIT_DEAD_LETTERS": "true"}
    with gunicorn(tmp_path, "--workers", "1", **environ) as port:
        yield f"http://127.0.0.1:{port}"


def test_every_sample_runs_as_it_is_shown(address: str, tmp_path: Path) -> None:
    api_keys.clear_cache()
    program = Program(*OPERATORS)
    environ = os.environ | {
        "CONSOLE_URL": address,
        "CONSOLE_KEY": program.headers["Authorization"].split()[1],
    }
    shown = {
        operation["operationId"]: operation["x-codeSamples"]
        for path, methods in api.get_openapi_schema()["paths"].items()
        if path.startswith("/api/operator/")
        for operation in methods.values()
    }
    assert shown.keys() == SCENES.keys()
    assert all([each["lang"] for each in sources] == list(samples.LANGUAGES) for sources in shown.values())
    for number, language in enumerate(samples.LANGUAGES):
        folder = tmp_path / language
        folder.mkdir()
        # Each language finds what it changes as the sample says that it was seen.
        files = []
        for name, sources in shown.items():
            files.append(folder / f"{name}{SUFFIXES[language]}")
            files[-1].write_text(filled(sources[number]["source"], SCENES[name](program)))
        run(language, files, environ)


@pytest.mark.parametrize(("language", "command"), [("python", "python3"), ("typescript", "node")])
def test_documented_program_waits_for_a_preview_that_the_cluster_prepares(
    address: str, tmp_path: Path, language: str, command: str
) -> None:
    api_keys.clear_cache()
    number = background_freezing.AT_ONCE + 1
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs (customer_id, package_size, status) SELECT 'a', 1, 'failed' FROM generate_series(1, %s)",
            [number],
        )
    file = tmp_path / ("program.py" if language == "python" else "program.mjs")
    page = (REPOSITORY / "docs" / "operators-api.md").read_text().partition("## Bulk operations")[2]
    file.write_text(page.partition(f"```{language}\n")[2].partition("```")[0])
    key = Program(*OPERATORS).headers["Authorization"].split()[1]
    environ = os.environ | {"CONSOLE_URL": address, "CONSOLE_KEY": key}

    # It would wait for its preview for ever where this test fails.
    with running(
        [installed(command), file], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        wait_until(BulkOperation.objects.filter(state="freezing").exists, 60, what="a preview to prepare")
        while made := BulkOperation.objects.filter(state="freezing").first():
            chunks.work(made, "the test")
        printed, failed = process.communicate(timeout=60)

    assert process.returncode == 0, failed
    begun = json.loads(printed)
    assert (begun["state"], begun["will"], begun["total"]) == ("running", number, number)


def run(language: str, files: Sequence[Path], environ: dict[str, str]) -> None:
    """Run the samples, one after the other. Each prints what the server answered, and fails where that is an error."""
    (files[0].parent / f"all{SUFFIXES[language]}").write_text(DRIVERS[language])
    program = {"curl": "sh", "Python": sys.executable, "TypeScript": installed("node")}[language]
    installed("curl")
    command = [program, f"all{SUFFIXES[language]}", *(f"./{each.name}" for each in files)]
    done = subprocess.run(
        command, cwd=files[0].parent, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (language, done.stdout[-2_000:], done.stderr)
    printed = done.stdout.split(MARK)[1:]
    assert len(printed) == len(files)
    assert all(each.strip().startswith("{") for each in printed), printed


def filled(source: str, real: dict[str, str]) -> str:
    """Return the sample with what a caller has to fill in; everything else stays as it is shown."""
    for example, value in ({samples.IDEMPOTENCY_KEY: uuid4().hex} | real).items():
        source = source.replace(example, value)
    return source


def of_job(program: Program, **fields: Any) -> dict[str, str]:
    one = job(**fields)
    return {samples.JOB: str(one.pk), VERSION: program.get(f"jobs/{one.pk}").json()["job"]["version"]}


def of_payload(program: Program) -> dict[str, str]:
    one = job(status="failed")
    return {samples.JOB: str(one.pk), VERSION: program.get(f"jobs/{one.pk}/payload").json()["version"]}


def of_letter(program: Program, **fields: Any) -> dict[str, str]:
    one = dead_letter(**fields)
    return {
        samples.LETTER: str(one.pk),
        VERSION: program.get(f"letters/{one.pk}").json()["letter"]["version"],
    }


def of_body(program: Program) -> dict[str, str]:
    one = dead_letter(body='{"order": "4711", "street": ""}')
    return {samples.LETTER: str(one.pk), VERSION: program.get(f"letters/{one.pk}/body").json()["version"]}


def of_alert(program: Program) -> dict[str, str]:
    one = Alert.objects.create(fingerprint=uuid4().hex, severity="critical", title="3 dead letters")
    version = program.get(f"alerts/{one.pk}").json()["alert"]["version"]
    return {"/alerts/12": f"/alerts/{one.pk}", VERSION: version}


def of_pause(program: Program, name: str = "recovery") -> dict[str, str]:
    Pause.objects.filter(name=name).delete()
    if name != "recovery":
        Pause.objects.create(name=name, began_by="olga", reason="deploy")
    [version] = [each["version"] for each in program.get("pauses").json()["pauses"] if each["name"] == name]
    return {VERSION: version, '"recovery"': f'"{name}"', "'recovery'": f"'{name}'"}


def of_limits(program: Program) -> dict[str, str]:
    [version] = [
        each["version"] for each in program.get("limits").json()["policies"] if each["name"] == "relaxed"
    ]
    return {VERSION: version}


def of_mode(program: Program) -> dict[str, str]:
    LimiterControl.objects.update(mode="enforce")
    return {VERSION: program.get("limits").json()["mode"]["version"]}


def of_bulk(program: Program, state: str) -> dict[str, str]:
    one = job(status="failed")
    made = program.post("bulk", {"action": "requeue", "ids": [str(one.pk)]}).json()["operation"]
    if state != "preview":
        made = program.change(f"bulk/{made['number']}/confirm", made["version"], will=1).json()
    if state == "cancelled":
        made = program.change(f"bulk/{made['number']}/cancel", made["version"]).json()
    return {
        "/bulk/7": f"/bulk/{made['number']}",
        VERSION: made["version"],
        '"will": 40': '"will": 1',
        "'will': 40": "'will': 1",
    }


Scene = Callable[[Program], dict[str, str]]
# What there is when the sample of each route runs, and what of it the sample names.
SCENES: dict[str, Scene] = {
    "list_jobs": of_job,
    "show_job": of_job,
    "requeue_job": lambda program: of_job(program, status="failed"),
    "cancel_job": of_job,
    "show_payload": of_job,
    "edit_job": of_payload,
    "release_job": lambda program: of_job(program, status="quarantined"),
    "list_letters": of_letter,
    "show_letter": of_letter,
    "replay_letter": of_letter,
    "discard_letter": of_letter,
    "restore_letter": lambda program: of_letter(program, state="discarded"),
    "show_letter_body": of_letter,
    "edit_letter": of_body,
    "list_bulk": lambda program: of_bulk(program, "running"),
    "preview_bulk": lambda program: of_job(program, status="failed"),
    "show_bulk_preview": lambda program: of_bulk(program, "preview"),
    "confirm_bulk": lambda program: of_bulk(program, "preview"),
    "show_bulk": lambda program: of_bulk(program, "running"),
    "cancel_bulk": lambda program: of_bulk(program, "running"),
    "resume_bulk": lambda program: of_bulk(program, "cancelled"),
    "list_alerts": of_alert,
    "show_alert": of_alert,
    "acknowledge_alert": of_alert,
    "snooze_alert": of_alert,
    "resolve_alert": of_alert,
    "list_pauses": of_pause,
    "begin_pause": of_pause,
    "end_pause": lambda program: of_pause(program, "queue:default"),
    "list_policies": of_limits,
    "change_policy": of_limits,
    "switch_limits": of_mode,
}


def test_page_shows_the_samples(client: Client) -> None:
    page = client.get("/api/docs").content.decode()

    for language in samples.LANGUAGES:
        assert f"<summary>{language}</summary>" in page
    assert "Idempotency-Key: ticket-118" in page
    assert not (Job.objects.exists() or DeadLetter.objects.exists() or BulkOperation.objects.exists())
