"""Tests of the mapping: what the file may say, what it means in statements, and how wrong files are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.apps import apps

from opsconsole.kit import mapping
from opsconsole.kit.mapping import Life, Mapping, Time
from opsconsole_worker.mapping import mapping_file
from opsconsole_worker.mapping.mapping_file import MappingError

REPOSITORY = Path(__file__).resolve().parents[3]
WHOLE = """
[jobs]
schema = "JobManager"
table = "Job"
id_type = "bigint"
[jobs.columns]
id = "jobId"
status = "state"
customer_id = "customer_id"
updated_at = false
[jobs.times]
created_at = "epoch_milliseconds"
started_at = "without_zone"
completed_at = "without_zone:Europe/Berlin"
[jobs.statuses]
pending = ["queued", "scheduled"]
in_progress = ["running"]
completed = ["completed"]
failed = ["failed", "it's over"]
cancelled = []
quarantined = []
[jobs.life]
told_by = "job_column"
column = "lockedAt"
[worker_heartbeats]
table = "order"
[rate_limit_requests]
absent = true
"""


def test_nothing_differs_without_a_file() -> None:
    assert mapping_file.read("", {}) == mapping_file.parse("") == Mapping()
    nothing = Mapping()
    assert nothing.unsupported() == []
    assert [(table.sql, table.aliased, table.aliased_rows) for table in nothing.tables] == [
        (name, name, name) for name in ("jobs", "worker_heartbeats", "rate_limit_requests")
    ]
    assert nothing.jobs.sql_column("status", "job") == "job.status"
    assert nothing.jobs.is_status("in_progress", of="job") == "job.status = 'in_progress'"
    assert [nothing.jobs.written(status) for status in mapping.STATUSES] == [*mapping.STATUSES]


def test_whole_file_becomes_one_object() -> None:
    found = mapping_file.parse(WHOLE)
    jobs = found.jobs
    assert (jobs.sql, jobs.id_type) == ('"JobManager"."Job"', "bigint")
    assert jobs.aliased == '"JobManager"."Job" AS jobs'
    assert jobs.columns == {"id": "jobId", "status": "state"}
    assert jobs.sql_column("status", "job") == 'job."state"'
    assert jobs.sql_column("customer_id") == "customer_id"
    assert (jobs.has("updated_at"), jobs.has("created_at")) == (False, True)
    assert jobs.times == {
        "created_at": Time("epoch_milliseconds"),
        "started_at": Time("without_zone"),
        "completed_at": Time("without_zone", "Europe/Berlin"),
    }
    assert jobs.life == Life("job_column", "lockedAt")
    assert found.worker_heartbeats.sql == '"order"'
    assert found.rate_limit_requests.absent
    assert found.table("jobs") is jobs


def test_status_words_are_read_and_written() -> None:
    jobs = mapping_file.parse(WHOLE).jobs
    assert jobs.is_status("pending") == "\"state\" IN ('queued', 'scheduled')"
    assert (
        jobs.is_status("in_progress", "failed", of="j")
        == "j.\"state\" IN ('running', 'failed', 'it''s over')"
    )
    assert jobs.is_status("cancelled") == "false"
    assert [jobs.status_of(word) for word in ("scheduled", "it's over", "cancelled", "Running")] == [
        "pending",
        "failed",
        "cancelled (theirs)",
        "Running",
    ]
    assert [jobs.written(status) for status in ("pending", "cancelled", "quarantined")] == [
        "queued",
        "failed",
        "failed",
    ]
    without_failed = mapping_file.parse(
        '[jobs.statuses]\nfailed = []\ncancelled = []\nquarantined = ["dead"]'
    ).jobs
    assert [without_failed.written(status) for status in ("failed", "cancelled", "quarantined")] == [
        None,
        None,
        "dead",
    ]


def test_short_form_gives_the_same_object() -> None:
    short = mapping_file.read(
        "", {"jobs.customer_id": "client", "worker_heartbeats.last_heartbeat": "last_seen"}
    )
    assert short == mapping_file.parse(
        '[jobs.columns]\ncustomer_id = "client"\n[worker_heartbeats.columns]\nlast_heartbeat = "last_seen"'
    )
    with pytest.raises(
        MappingError, match=r"OPSCONSOLE_COLUMNS can't be used.*customer_id.*both name the column 'x'"
    ):
        mapping_file.read("", {"jobs.customer_id": "x", "jobs.priority_level": "x"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("jobs = 1", "[jobs] must be a table of keys and values, not 1."),
        ("[job]", "It has an unknown key 'job'. Accepted: jobs, worker_heartbeats, rate_limit_requests."),
        ("[jobs]\nabsent = true", "[jobs] has an unknown key 'absent'."),
        ("[jobs.columns]\nqueue = 'q'", "[jobs.columns] has an unknown key 'queue'."),
        ("[jobs]\nschema = ''", "[jobs] schema must be a name of 1 to 63 bytes"),
        ("[jobs]\ntable = 'a\"b'", "without the characters"),
        ("[jobs]\ntable = 'a%b'", "without the characters"),
        ("[jobs]\ntable = 'ääääääääääääääääääääääääääääääää'", "of 1 to 63 bytes"),
        ("[jobs]\ntable = 'worker_heartbeats'", "[worker_heartbeats] names worker_heartbeats, the table that [jobs] has"),
        ("[jobs]\nid_type = 'serial'", "[jobs] id_type must be one of uuid, bigint, integer, text, not 'serial'."),
        ("[jobs.columns]\nid = false", "[jobs.columns] id can't be false"),
        ("[jobs.columns]\nupdated_at = true", "[jobs.columns] updated_at must be a name, not True."),
        ("[jobs.columns]\nstatus = 'x'\nid = 'x'", "[jobs.columns] status and id both name the column 'x'."),
        ("[jobs.columns]\nupdated_at = 'created_at'", "both name the column 'created_at'."),
        ("[jobs.columns]\nstatus = 'queue'", "status names 'queue', a column that the console adds itself."),
        ("[jobs.times]\nstatus = 'epoch_seconds'", "[jobs.times] has an unknown key 'status'."),
        ("[jobs.times]\ncreated_at = 'epoch'", '[jobs.times] created_at must be "without_zone", '),
        ("[jobs.times]\ncreated_at = 'epoch_seconds:UTC'", "[jobs.times] created_at must be"),
        ("[jobs.times]\ncreated_at = 'without_zone:'", "[jobs.times] created_at must be"),
        ("[jobs.times]\ncreated_at = 'without_zone:Mars/Base'", "'Mars/Base', which is no time zone"),
        ("[jobs.times]\ncreated_at = 'without_zone:../etc'", "'../etc', which is no time zone"),
        ("[jobs.columns]\nupdated_at = false\n[jobs.times]\nupdated_at = 'epoch_seconds'", "says that there is none."),
        ("[jobs.statuses]\nerror = ['error']", "[jobs.statuses] has an unknown key 'error'."),
        ("[jobs.statuses]\nfailed = 'error'", '[jobs.statuses] failed must be a list of words such as ["queued"'),
        ("[jobs.statuses]\nfailed = [1]", "[jobs.statuses] failed must be a list of words"),
        ("[jobs.statuses]\nfailed = ['']", "[jobs.statuses] failed must consist of words of 1 to 200 characters other than"),
        ("[jobs.statuses]\nin_progress = []", "[jobs.statuses] in_progress is empty. At least one word is needed"),
        ("[jobs.statuses]\nfailed = ['x', 'x']", "[jobs.statuses] failed names a word twice."),
        ("[jobs.statuses]\nfailed = ['x']\npending = ['x']", "The word 'x' stands for pending and for failed."),
        ("[jobs.statuses]\nfailed = ['pending']", "The word 'pending' stands for pending and for failed."),
        ("[jobs.life]\ntold_by = 'love'", "[jobs.life] told_by must be one of beats, worker_beats, "),
        ("[jobs.life]\ntold_by = 'job_column'", "[jobs.life] column belongs to told_by"),
        ("[jobs.life]\ncolumn = 'x'", "[jobs.life] column belongs to told_by"),
        ("[jobs.life]\ntime = 'epoch_seconds'", "[jobs.life] time belongs to told_by"),
        ("[jobs.life]\ntold_by = 'job_column'\ncolumn = 'x'\ntime = 'x'", '[jobs.life] time must be "without_zone", '),
        ("[jobs.life]\nworker = ''", "[jobs.life] worker must be a name of 1 to 63 bytes"),
        ("[jobs.life]\ntold_by = 'updated_at'\n[jobs.columns]\nupdated_at = false", "says that there is none."),
        ("[jobs.life]\ntold_by = 'worker_beats'\n[worker_heartbeats]\nabsent = true", "says that there is none."),
        ("[worker_heartbeats.columns]\ncurrent_job_id = false", 'need [jobs.life] told_by = "worker_beats"'),
        ("[worker_heartbeats]\nid_type = 'serial'", "[worker_heartbeats] id_type must be one of uuid, bigint"),
        ("[jobs.queues]\nmail = 'x'", "[jobs.queues] mail must be a list of words"),
        ("[jobs.queues]\nmail = ['x']\ndefault = ['y', 'x']", "The word 'x' stands for two queues."),
        ("[worker_heartbeats]\nabsent = 'yes'", "[worker_heartbeats] absent must be true or false, not 'yes'."),
        ("[worker_heartbeats]\nabsent = true\ntable = 'x'", "Leave out the other keys."),
        ("[jobs", "It is not TOML: "),
        ("x = " + "[" * 50_000, "It is not TOML: "),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(MappingError) as refusal:
        mapping_file.parse(text)
    assert sentence in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "It can't be read: No such file or directory."),
        (b"\xff", "It can't be read: it is not text in UTF-8."),
        (b"#" * 100_001, "It is larger than 100000 bytes."),
        (b"[jobs", "It is not TOML: "),
        (b"[jobs.columns]\ncreated_at = false", "not supported yet."),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "mapping.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MappingError) as refusal:
        mapping_file.read(str(path), {})
    assert str(refusal.value).startswith(f"OPSCONSOLE_MAPPING names '{path}', which can't be used. ")
    assert str(refusal.value).endswith(".") and sentence in str(refusal.value)


def test_folder_and_both_variables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="It can't be read: Is a directory"):
        mapping_file.read(str(tmp_path), {})
    with pytest.raises(MappingError, match="OPSCONSOLE_MAPPING and OPSCONSOLE_COLUMNS are both set"):
        mapping_file.read(str(tmp_path), {"jobs.customer_id": "x"})


@pytest.mark.parametrize("model", ["jobs.Job", "jobs.WorkerHeartbeat", "ratelimits.RateLimitRequest"])
def test_columns_of_the_contract_and_of_the_console_are_those_of_the_models(model: str) -> None:
    found = apps.get_model(model)
    table = found._meta.db_table
    assert {field.name for field in found._meta.concrete_fields} == {
        *mapping.CONTRACT_COLUMNS[table],
        *mapping.OWN_COLUMNS[table],
    }


TIMES = """
[jobs.columns]
updated_at = false
error_message = false
created_at = "createdAt"
[jobs.times]
created_at = "epoch_milliseconds"
started_at = "without_zone:Europe/Berlin"
[rate_limit_requests]
absent = true
"""


def test_times_and_absent_columns_become_those_of_the_contract() -> None:
    found = mapping_file.parse(TIMES)
    jobs = found.jobs
    created = 'to_timestamp(nullif(job."createdAt", 0)::float8 / 1000)'
    started = "(job.started_at AT TIME ZONE 'Europe/Berlin')"
    assert jobs.read("created_at", "job") == created
    assert jobs.read("started_at", "job") == started
    assert jobs.read("updated_at", "job") == f"coalesce({started}, {created})"
    assert jobs.read("error_message", "job") == "NULL::text"
    assert jobs.assignments(
        updated_at="now()", error_message="NULL", started_at="NULL", created_at="now()"
    ) == ('started_at = NULL, "createdAt" = floor(extract(epoch FROM now()) * 1000)::bigint')
    assert jobs.aliased_rows.endswith("FROM jobs) AS jobs") and "NULL::text AS error_message" in jobs.rows
    assert found.rate_limit_requests.aliased_rows == "rate_limit_requests"
    assert found.unsupported() == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[jobs.columns]\nupdated_at = false\nstarted_at = false", "nothing would tell when a run began"),
        ("[jobs.columns]\ncreated_at = false", "[jobs.columns] created_at = false: a table without it is not supported"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_said(text: str, sentence: str) -> None:
    assert sentence in "".join(mapping_file.parse(text).unsupported())


LIVES = """
[jobs.times]
created_at = "epoch_milliseconds"
[jobs.life]
told_by = "job_column"
column = "lockedAt"
worker = "lockedBy"
[jobs.queues]
mail = ["post", "letters"]
[worker_heartbeats]
id_type = "bigint"
"""


def test_signs_of_life_on_the_row_are_read_in_the_type_of_the_contract() -> None:
    found = mapping_file.parse(LIVES)
    jobs, beats = found.jobs, found.worker_heartbeats
    assert jobs.life_at("job") == 'to_timestamp(nullif(job."lockedAt", 0)::float8 / 1000)'
    assert jobs.read("worker_id", "job") == 'coalesce(job.worker_id::text, job."lockedBy"::text)'
    assert jobs.cleared_of_theirs == {'"lockedAt"': "0", '"lockedBy"': "NULL"}
    assert jobs.rows.endswith("AS life_at FROM jobs)")
    assert (
        jobs.read("queue", "job")
        == "(CASE WHEN job.queue IN ('post', 'letters') THEN 'mail' ELSE 'default' END)"
    )
    assert [jobs.queue_written(queue) for queue in ("mail", "default")] == ["post", "default"]
    assert beats.read("worker_id", "beat") == "beat.worker_id::text"
    assert Mapping().jobs.no_error == "NULL"
    assert "attrelid = to_regclass('jobs') AND attname = 'error_message' AND attnotnull" in jobs.no_error

    with_zone = mapping_file.parse(LIVES.replace("worker =", 'time = "with_zone"\nworker =')).jobs
    assert with_zone.life_at("job") == 'job."lockedAt"'
    assert with_zone.cleared_of_theirs['"lockedAt"'] == "NULL"
    of_contract = mapping_file.parse(
        '[jobs.columns]\nstarted_at = "lockedAt"\n[jobs.life]\ntold_by = "job_column"\ncolumn = "lockedAt"'
    ).jobs
    assert of_contract.cleared_of_theirs == {}
    assert mapping_file.parse("[jobs.life]\nworker = 'worker_id'").jobs == Mapping().jobs


def test_columns_that_the_console_adds_are_read_and_written() -> None:
    beats = mapping_file.parse(
        "[jobs.life]\ntold_by = 'worker_beats'\n[worker_heartbeats.columns]\ncurrent_job_id = false"
    ).worker_heartbeats
    assert (beats.has("current_job_id"), beats.lacks("current_job_id")) == (False, False)
    assert beats.read("current_job_id", "beat") == "beat.current_job_id"
    assert beats.assignments(current_job_id="NULL") == "current_job_id = NULL"


def test_no_statement_names_a_contract_table_or_a_status_itself() -> None:
    """Old migrations speak of the contract: the operations of ``opsconsole.kit.ddl`` translate."""
    names = re.compile(rf"\b(FROM|JOIN|UPDATE|INTO|TABLE) ({'|'.join(mapping.CONTRACT_COLUMNS)})\b(?!\.)")
    words = re.compile(rf"\bstatus(::text)? (=|<>|IN|NOT IN) \(?'({'|'.join(mapping.STATUSES)})'")
    named = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for app in ("jobs", "ratelimits", "alerts", "opsconsole")
        for path in (REPOSITORY / app).rglob("*.py")
        if path.parent.name != "migrations"
        for line in path.read_text().splitlines()
        if names.search(line) or words.search(line)
    ]
    assert named == []
