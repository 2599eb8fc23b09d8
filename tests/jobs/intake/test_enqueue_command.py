"""Tests of the command ``enqueue_jobs``: all jobs or none, and which line is wrong."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.models import Job, JobEvent, Outbox
from opsconsole_worker.environment import QueueConfig

pytestmark = pytest.mark.django_db

GOOD = json.dumps({"customer_id": "TEST-001", "package_size": 50})


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    url = "http://127.0.0.1:1/000000000000/"
    settings.QUEUES = {name: QueueConfig(name, url + name, None) for name in ("default", "bulk")}


def enqueue(*words: str) -> str:
    out = io.StringIO()
    call_command("enqueue_jobs", *words, stdout=out)
    return out.getvalue()


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as error:
        enqueue(*words)
    assert not Job.objects.exists()
    assert not Outbox.objects.exists()
    return str(error.value)


def test_one_job() -> None:
    said = enqueue("--customer", "TEST-001", "--package-size", "50")
    job = Job.objects.get()
    assert said == f"{job.pk}\n"
    assert (job.customer_id, job.package_size, job.priority_level) == ("TEST-001", 50, "starter")
    assert Outbox.objects.get().job_id == job.pk
    assert JobEvent.objects.get().kind == JobEvent.Kind.ENQUEUED


def test_every_option() -> None:
    one = ["--customer", "TEST-002", "--package-size", "150", "--priority", "gold", "--queue", "bulk"]
    said = json.loads(enqueue(*one, "--payload", '{"site": "example.org"}', "--count", "3", "--json"))
    assert said["enqueued"] == 3
    assert {str(job.pk) for job in Job.objects.all()} == set(said["ids"])
    job = Job.objects.all()[0]
    assert (job.priority_level, job.queue, job.payload) == ("gold", "bulk", {"site": "example.org"})


def test_jobs_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    other = json.dumps({"customer_id": "TEST-002", "package_size": 1, "queue": "bulk"})
    file.write_text(f"\ufeff{GOOD}\n\n{other}\n", encoding="utf-8")
    ids = enqueue("--from-file", str(file)).split()
    by_id = {str(job.pk): job.customer_id for job in Job.objects.all()}
    assert [by_id[each] for each in ids] == ["TEST-001", "TEST-002"]


def test_line_ends_where_json_lines_end(tmp_path: Path) -> None:
    """JavaScript writes line separators as they are within texts, and programs on Windows end lines by two characters."""
    file = tmp_path / "jobs.jsonl"
    words = "one\u2028two\u2029three\u0085four"
    jobs = [{"customer_id": words, "package_size": 1}, {"customer_id": "B", "package_size": 1}]
    file.write_bytes(b"\r\n".join(json.dumps(each, ensure_ascii=False).encode() for each in jobs))
    enqueue("--from-file", str(file))
    assert {job.customer_id for job in Job.objects.all()} == {words, "B"}


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"\ufeff{GOOD}"))
    enqueue("--from-file", "-")
    assert Job.objects.count() == 1


def test_one_bad_line_enqueues_nothing(tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text(f'{GOOD}\n{{nonsense\n{GOOD}\n{{"customer_id": "A"}}')
    said = refused("--from-file", str(file))
    assert said.startswith("Nothing was enqueued. Lines that are not a job: 2.\nline 2: Not JSON: ")
    assert said.endswith("line 4: package_size is missing.")


def test_only_first_bad_lines_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text("[]\n" * 1_000)
    said = refused("--from-file", str(file))
    assert said.startswith("Nothing was enqueued. Lines that are not a job: 1000.")
    assert len(said.splitlines()) == 21


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "The file has no job"), (b"\xff\xfe\xff", "can't be read"), (None, "can't be read")],
    ids=["empty", "not UTF-8", "missing"],
)
def test_unusable_files(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "jobs.jsonl"
    if content is not None:
        file.write_bytes(content)
    assert sentence in refused("--from-file", str(file))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Give --customer and --package-size, or --from-file."),
        (["--customer", "A"], "Give --customer and --package-size, or --from-file."),
        (["--customer", " ", "--package-size", "1"], "customer_id must be non-empty text"),
        (["--customer", "A", "--package-size", "0"], "package_size must be a whole number from 1"),
        (["--customer", "A", "--package-size", "x"], "invalid int value: 'x'"),
        (["--customer", "A", "--package-size", "1", "--queue", "no"], "There is no queue named 'no'."),
        (
            ["--customer", "A", "--package-size", "1", "--count", "0"],
            "argument --count: give a whole number from 1 to 100,000",
        ),
        (
            ["--customer", "A", "--package-size", "1", "--count", "100001"],
            "argument --count: give a whole number from 1 to 100,000",
        ),
        (["--customer", "A", "--package-size", "1", "--payload", "{"], "Not JSON"),
        (["--customer", "A", "--package-size", "1", "--payload", "[]"], "payload must be a JSON object"),
        (["--customer", "A", "--from-file", "x"], "--customer has no effect with --from-file"),
    ],
)
def test_invalid_arguments_are_refused_with_message(words: list[str], sentence: str) -> None:
    assert sentence in refused(*words)


def test_id_that_exists_is_refused_by_the_database(tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    again = {"customer_id": "TEST-001", "package_size": 1, "id": "0b2f1a52-8f0e-4a58-9a53-0d1f3b9f4c11"}
    file.write_text(f"{GOOD}\n{json.dumps(again)}")
    enqueue("--from-file", str(file))
    with pytest.raises(
        CommandError,
        match=r"Nothing was enqueued\. Job 2 of 2 in the file: The database refused it by constraint 'jobs_pkey'",
    ):
        enqueue("--from-file", str(file))
    assert Job.objects.count() == 2
