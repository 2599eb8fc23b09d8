"""Tests of log lines: one event is one line, whatever external text it contains, and secrets are in none."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from opsconsole import logs
from opsconsole.kit import activity
from opsconsole.logs import JSON, TEXT, CausesOnly, LineFormatter, secrets_of
from opsconsole_worker import tracebacks
from tests import factories


def line(
    message: str,
    *arguments: object,
    level: int = logging.WARNING,
    style: str = TEXT,
    error: Any = None,
    secrets: tuple[str, ...] = (),
    **facts: object,
) -> str:
    record = logging.LogRecord("opsconsole_worker.sqs", level, "x.py", 1, message, arguments, error)
    record.__dict__["facts"] = facts
    return LineFormatter(style, secrets).format(record)


def test_time_level_logger_message() -> None:
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING opsconsole_worker\.sqs: job 7 is stale"
    assert re.fullmatch(pattern, line("job %s is stale", 7))


def test_external_text_cannot_forge_lines_or_control_terminal() -> None:
    forged = line("customer %s", "x\n2030-01-01 INFO root: all well\r\x1b[2J\u2028")
    assert forged.isprintable()
    assert r"x\n2030-01-01" in forged and r"\x1b[2J\u2028" in forged
    assert line("customer %s", "Zoë 東京").endswith("customer Zoë 東京")


def test_facts_follow_the_message() -> None:
    told = line("job recovered", job="7", worker='w "1" job=9', why="never\nbeat", long="x" * 5_000)
    assert r'job recovered job=7 worker="w \"1\" job=9" why="never\nbeat" long=xxx' in told
    assert len(told) < 500


def test_external_text_in_an_error_neither_forges_lines_nor_has_any_length() -> None:
    told = line("no", error=_raised(ValueError("a\r2030-01-01 INFO root: all well\x1b[2J" + "x" * 50_000)))
    head, *traceback = told.split("\n")
    assert head.endswith("no") and traceback
    assert all(each.isprintable() and each.startswith("  ") for each in traceback)
    assert len(told) < 30_000
    assert len(line("customer %s", "x" * 50_000, style=JSON)) < 5_000


def test_json_is_one_object_per_line() -> None:
    told = line("job %s", "x\ny", style=JSON, job=7, worker="w\u20281")
    assert told.isprintable()
    assert json.loads(told) | {"time": ""} == {
        "time": "",
        "level": "WARNING",
        "logger": "opsconsole_worker.sqs",
        "event": "job x\ny",
        "job": 7,
        "worker": "w\u20281",
    }


def test_lines_have_what_is_bound_and_their_own_facts_win() -> None:
    with activity.about(sweep=17, job="bound"):
        told = line("done", job="own")
        assert set(told.partition(" done ")[2].split()) == {"sweep=17", "job=own"}
    assert line("done").endswith("done")


def test_line_about_several_has_the_facts_of_each() -> None:
    rows = [{"job": 7, "run": 1, "why": "a b"}, {"job": 8, "run": 2}]
    text = line("message sent", to="default/queue", count=2, each=rows)
    assert text.endswith('message sent to=default/queue count=2 job=7 run=1 why="a b" job=8 run=2')
    told = json.loads(line("message sent", style=JSON, to="default/queue", count=2, each=rows))
    assert (told["to"], told["count"], told["each"]) == ("default/queue", 2, rows)


@pytest.mark.parametrize("style", [TEXT, JSON])
def test_line_about_several_cuts_no_id_hides_secrets_and_is_one_line(style: str) -> None:
    jobs = [f"job-{number}-{'x' * 280}" for number in range(10)]
    rows: list[dict[str, object]] = [{"job": job, "why": "it is pass-word\nTrue"} for job in jobs]
    told = line("message refused", style=style, secrets=("pass-word",), each=[*rows, {"job": "y" * 5_000}])
    assert all(told.count(job) == 1 for job in jobs)
    assert told.isprintable() and told.count(logs.HIDDEN) == 10 and "pass-word" not in told
    assert "y" * 300 in told and "y" * 301 not in told


def test_traceback_follows_the_facts_of_each() -> None:
    head, *traceback = line("no", each=[{"job": 7}, {"job": 8}], error=_raised(ValueError("x"))).split("\n")
    assert head.endswith("no job=7 job=8") and "ValueError: x" in traceback[-1]


@pytest.mark.parametrize("style", [TEXT, JSON])
def test_secrets_of_the_settings_are_in_no_line(style: str) -> None:
    secrets = secrets_of(
        {
            "DATABASE_URL": "postgres://console:p%40ssword-1@db:5432/ops",
            "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/abc",
            "OPSCONSOLE_SECRET_KEY": "the-secret-key-of-production",
            "OPSCONSOLE_API_KEY_PEPPERS": "pepper-number-one, pepper-number-two",
            "OPSCONSOLE_RATE_LIMIT_STORE": "rediss://:valkey-pass@store:6379/0",
            "SENTRY_DSN": "https://abcdef@sentry.example.com/1",
            "AWS_SECRET_ACCESS_KEY": "aws-secret-key",
            "SQS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs",
            "OPSCONSOLE_ENV": "production",
        }
    )
    hidden = [
        "p@ssword-1",
        "p%40ssword-1",
        "services/T0",
        "the-secret-key",
        "number-two",
        "valkey-pass",
        "abcdef@",
        "aws-secret",
    ]
    told = line(
        "%s",
        " ".join(secrets),
        style=style,
        secrets=secrets,
        fact=secrets[0],
        error=_raised(ValueError(secrets[-1])),
    )
    assert not [each for each in hidden if each in told]
    assert logs.HIDDEN in told
    shown = "https://sqs.us-east-1.amazonaws.com/123456789012/jobs production postgres://console"
    assert shown in line("%s", shown, style=style, secrets=secrets)


@pytest.mark.parametrize(
    ("name", "value", "quoted"),
    [
        (
            "SLACK_WEBHOOK_URL",
            "https://hooks.slack.com/services/T0/B0/XyZ",
            "HTTPSConnectionPool(host='hooks.slack.com', port=443): Max retries exceeded with url: /services/T0/B0/XyZ (Caused by",
        ),
        ("OPSCONSOLE_DEADMAN_SWEEP_URL", "https://hc-ping.com/7a9ff1c2-0b1d/", "404 for url: /7a9ff1c2-0b1d"),
        ("DATABASE_URL", "postgres://ops@db/ops?sslmode=require&password=in-the-query", "password=in-the-query"),
        ("DATABASE_URL", "postgres://ops:p%40ss-word@db/ops", "FATAL: p@ss-word"),
        ("DATABASE_URL", "postgres://ops@db/ops?sslpassword=of-the-key", "of-the-key"),
        ("CACHE_URL", "redis://cache/0?password=of-the-store", "AUTH of-the-store"),
        ("OPSCONSOLE_RATE_LIMIT_STORE", "rediss://limiter:of-the-limiter@store/0", "of-the-limiter"),
        ("OPSCONSOLE_ALERT_CHANNELS", '{"mail": "mailtos://ops:mail-word@example.com"}', "535 mail-word"),
        ("OPSCONSOLE_ALERT_CHANNELS", '{"pages": "pagerduty://key-of-it@api-key"}', "pagerduty://key-of-it@api-key"),
        ("OPSCONSOLE_ALERT_CHANNELS", '{"hook": "jsons://h.example.com/a/b/secret-path"}', "POST /a/b/secret-path"),
        ("OPSCONSOLE_ALERT_FALLBACK", "slack://tokenAAA/tokenBBB/tokenCCC", "tokenAAA and /tokenBBB/tokenCCC"),
        ("SENTRY_DSN", "https://public-key@sentry.example.com/1", "sentry_key=public-key"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG", "key wJalrXUtnFEMI/K7MDENG"),
        ("AWS_SESSION_TOKEN", "FwoGZXIvYXdzE", "token=FwoGZXIvYXdzE"),
        ("OPSCONSOLE_CHANNEL_KEYS", "first-of-the-keys,second-of-the-keys", "second-of-the-keys"),
        ("PGPASSWORD", "of-the-shell", "of-the-shell"),
        ("https_proxy", "http://ops:of-the-proxy@proxy:3128", "Proxy-Authorization: ops of-the-proxy"),
    ],
)  # fmt: skip
def test_errors_that_quote_a_part_of_a_secret_do_not_show_it(name: str, value: str, quoted: str) -> None:
    """Errors name the path of an address, its query or its user without the rest."""
    told = line("%s", quoted, secrets=secrets_of({name: value}), error=_raised(ValueError(quoted)))
    shown = told.replace(logs.HIDDEN, "")
    for secret in re.findall(r"[\w@/-]{6,}", value.partition("://")[2] or value):
        if secret in quoted and secret not in {"hooks.slack.com", "password", "sslpassword"}:
            assert secret not in shown, secret
    assert logs.HIDDEN in told


def test_hiding_leaves_ordinary_words() -> None:
    secrets = secrets_of(
        {
            "OPSCONSOLE_ALERT_CHANNELS": '{"mail": "mailtos://console:mail-word@example.com?to=team@example.com"}',
            "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/alerts",
            "DATABASE_URL": "postgres://console@database:5432/operations?sslkey=/etc/ssl/console.key&sslmode=require",
        }
    )
    words = "the console has 3 alerts: /admin/alerts/ database operations /etc/ssl/console.key require example.com"
    assert words in line("%s", words, secrets=secrets)


def test_last_traceback_of_a_command_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/XyZ")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    tracebacks.hide_secrets()
    sys.excepthook(*_raised(ValueError("Max retries exceeded with url: /services/T0/B0/XyZ")))
    told = capsys.readouterr().err
    assert "Traceback" in told and f"url: {logs.HIDDEN}" in told and "XyZ" not in told


def test_secrets_from_files_are_in_no_line_either(tmp_path: Path) -> None:
    for name, content in [
        ("key", "the-key-in-a-file\n"),
        ("url", "postgres://console:pass-in-a-file@db/ops"),
    ]:
        (tmp_path / name).write_text(content)
    secrets = secrets_of(
        {
            "OPSCONSOLE_SECRET_KEY_FILE": str(tmp_path / "key"),
            "DATABASE_URL_FILE": str(tmp_path / "url"),
            "SLACK_WEBHOOK_URL_FILE": str(tmp_path / "missing"),
        }
    )
    told = line("the-key-in-a-file pass-in-a-file %s", tmp_path, secrets=secrets)
    assert "-in-a-file" not in told
    assert str(tmp_path) in told


def _raised(error: Exception) -> Any:
    try:
        raise error  # noqa: TRY301 - raised to be caught
    except Exception:  # noqa: BLE001 - its traceback is what the test needs
        return sys.exc_info()


@pytest.mark.django_db
@pytest.mark.parametrize("style", [TEXT, JSON])
def test_rows_that_postgresql_quotes_are_in_no_line(style: str) -> None:
    job = factories.job(payload={"card": "CARD-4111\nDETAIL: CARD-4111"})
    with pytest.raises(DatabaseError) as refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs ADD CONSTRAINT theirs CHECK (status <> 'failed')")
        cursor.execute("UPDATE jobs SET status = 'failed' WHERE id = %s", [job.pk])
    assert "CARD-4111" in str(refused.value)
    error = (refused.type, refused.value, refused.tb)
    told = line("It failed: %s", refused.value, style=style, error=error)
    assert "violates check constraint" in told and "Traceback" in told
    assert "CARD-4111" not in told


@pytest.mark.parametrize(
    ("status", "error", "kept"),
    [
        (503, None, False),
        (503, ValueError("x"), True),
        (500, None, True),
        (404, None, False),
        (400, ValueError("x"), True),
    ],
)
def test_answers_without_an_error_are_left_to_the_access_log(status: int, error: Any, kept: bool) -> None:
    record = logging.LogRecord("django.request", logging.ERROR, "x.py", 1, "/", (), error and _raised(error))
    record.__dict__["status_code"] = status
    assert CausesOnly().filter(record) is kept
    # Logging that is configured twice has the filter twice.
    assert CausesOnly().filter(record) is kept


def test_page_during_an_outage_is_one_line() -> None:
    """Each poll of each open page would write a hundred lines of traceback, while somebody looks for the cause."""
    error = OperationalError("connection refused\nIs the server running?")
    record = logging.LogRecord(
        "django.request", logging.ERROR, "x.py", 1, "Gone: %s", ("/admin/",), _raised(error)
    )
    record.__dict__["status_code"] = 503
    assert CausesOnly().filter(record) and CausesOnly().filter(record)
    told = LineFormatter(TEXT).format(record)
    assert told.endswith("Gone: /admin/: The database does not answer: connection refused")


class TestActivity:
    @pytest.mark.django_db
    def test_line_is_written_after_the_commit(
        self, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
    ) -> None:
        caplog.set_level(logging.INFO)
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
            with activity.about(sweep=3):
                activity.done("job recovered", job=7, worker=None)
            assert not caplog.records
        [record] = caplog.records
        assert (record.getMessage(), record.__dict__["facts"]) == ("job recovered", {"sweep": 3, "job": 7})

    @pytest.mark.django_db
    def test_what_was_rolled_back_is_not_told(
        self, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
    ) -> None:
        caplog.set_level(logging.INFO)
        with (
            django_capture_on_commit_callbacks(execute=True),
            pytest.raises(ZeroDivisionError),
            transaction.atomic(),
        ):
            activity.done("job recovered", job=7)
            _ = 1 / 0
        assert not caplog.records

    @pytest.mark.parametrize("number", [1, 2, 10, 11, 25])
    def test_what_was_done_to_many_is_told_of_ten_per_line_and_of_each_once(
        self, caplog: pytest.LogCaptureFixture, number: int
    ) -> None:
        caplog.set_level(logging.INFO)
        activity.done_to_each(
            "message sent", [{"job": job, "message": None} for job in range(number)], to="default/queue"
        )
        facts = [record.__dict__["facts"] for record in caplog.records]
        assert len(facts) == -(-number // 10) and all(each["to"] == "default/queue" for each in facts)
        rows = [row for each in facts for row in each.get("each", [{"job": each.get("job")}])]
        assert rows == [{"job": job} for job in range(number)]
        assert [each["count"] for each in facts if "each" in each] == [
            len(each["each"]) for each in facts if "each" in each
        ]

    def test_one_of_many_has_the_form_of_a_single_line(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        activity.done_to_each("message sent", [{"job": 7}], to="default/queue")
        activity.done_to_each("message sent", [], to="default/queue")
        assert [record.__dict__["facts"] for record in caplog.records] == [{"to": "default/queue", "job": 7}]

    def test_no_database_is_needed(self, caplog: pytest.LogCaptureFixture) -> None:
        """pytest-django refuses any connection in this test."""
        caplog.set_level(logging.INFO)
        activity.done("message sent", job=7)
        assert [record.getMessage() for record in caplog.records] == ["message sent"]
