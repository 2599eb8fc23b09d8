"""Tests of settings from the environment: accepted and refused values, error sentences, and the docs."""

from __future__ import annotations

import os
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections

from opsconsole import checks
from opsconsole.kit import env
from opsconsole_worker.environment import QueueConfig
from tests.chaos.cuts import CuttingProxy

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = {"DATABASE_URL": "postgres://u:p@db:5432/app", "CACHE_URL": "redis://cache:6379/0"}
STRONG = {
    "DATABASE_URL": "postgres://u:Yx3kQ9wTz7Lm2Np@db:5432/app",
    "CACHE_URL": "redis://:Yx3kQ9wTz7Lm2Np@cache.example.com",
}
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/"
# Their defaults depend on other settings, as docs/settings.md explains.
DEPENDENT_DEFAULTS = {
    "OPSCONSOLE_ENV",
    "OPSCONSOLE_SECRET_KEY",
    "OPSCONSOLE_ALLOWED_HOSTS",
    "OPSCONSOLE_VAR_DIR",
    "OPSCONSOLE_METRICS_DIR",
}

Read = Callable[..., dict[str, Any]]


def without_settings() -> dict[str, str]:
    ours = ("OPSCONSOLE_", "SQS_", "AWS_", "SLACK_", "DATABASE_URL", "CACHE_URL", "DJANGO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reload the settings from these variables alone."""

    def read(**variables: str) -> dict[str, Any]:
        for name in set(os.environ) - set(without_settings()):
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(REPOSITORY / "opsconsole" / "settings.py"))

    return read


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("DATABASE_URL", "mysql://u:secret@db/app", "a PostgreSQL URL with the name of a database"),
        ("DATABASE_URL", "postgres://u:secret@db:5432/", "a PostgreSQL URL with the name of a database"),
        ("DATABASE_URL", "postgres://u:secret@db:port/app", "a PostgreSQL URL with the name of a database"),
        ("DATABASE_URL", "postgres://u:secret@db/app?pgbouncer=true", "not 'pgbouncer'"),
        ("DATABASE_URL", "postgres://u:secret@db/app?sslmode=require&schema=app", "not 'schema'"),
        (
            "DATABASE_URL",
            "postgres://u@db/app?password=my&secret",
            "each once, such as sslmode=require. Correct it",
        ),
        ("DATABASE_URL", "postgres://u:secret@db/app?sslmode=disable&sslmode=require", "not 'sslmode'"),
        (
            "OPSCONSOLE_OWNER_DATABASE_URL",
            "postgres://u:secret@db/app?ssl=true",
            "parameters that libpq knows, each once",
        ),
        ("CACHE_URL", "memcached://secret@cache:11211", "a URL such as redis://host:6379/0"),
        ("CACHE_URL", "redis://", "a URL such as redis://host:6379/0"),
        ("CACHE_URL", "redis://:secret@cache/0?ssl=true", "without the parameter 'ssl', whose value or name"),
        ("CACHE_URL", "redis://cache?ssl_cert_reqs=none", "'ssl_cert_reqs', whose value or name the client"),
        ("CACHE_URL", "redis://cache?ssl_cert_reqs=none", "for TLS, begin it with rediss://"),
        ("CACHE_URL", "redis://cache?retry=3", "without the parameter 'retry'"),
        ("CACHE_URL", "redis://cache?credential_provider=iam", "without the parameter 'credential_provider'"),
        ("CACHE_URL", "redis://cache?encoding_errors=maybe", "without the parameter 'encoding_errors'"),
        ("CACHE_URL", "redis://cache?socket_timeout=0", "without the parameter 'socket_timeout'"),
        ("CACHE_URL", "redis://cache?client_name=ops%20console", "without the parameter 'client_name'"),
        ("CACHE_URL", "redis://cache?db=-1", "without the parameter 'db'"),
        ("CACHE_URL", "rediss://cache?ssl_cert_reqs=maybe", "without the parameter 'ssl_cert_reqs'"),
        ("CACHE_URL", "redis://cache?db=1&timeout=5s", "without the parameter 'timeout'"),
        ("OPSCONSOLE_RATE_LIMIT_STORE", "redis://cache?timeout=5", "without the parameter 'timeout'"),
        (
            "OPSCONSOLE_RATE_LIMIT_STORE",
            "unix:///run/valkey.sock?colour=red",
            "without the parameter 'colour'",
        ),
        ("AWS_ENDPOINT_URL", "localhost:5000", "a URL such as http://127.0.0.1:5000"),
        ("SLACK_WEBHOOK_URL", "http://hooks.slack.com/secret", "a URL such as https://hooks.slack.com/"),
        ("OPSCONSOLE_ENV", "staging", "development or production, not 'staging'"),
        ("OPSCONSOLE_DEBUG", "maybe", "true or false, not 'maybe'"),
        ("OPSCONSOLE_STALE_AFTER_SECONDS", "0", "a whole number from 1 to 2592000, not '0'"),
        ("OPSCONSOLE_STALE_AFTER_SECONDS", "10m", "a whole number from 1 to 2592000, not '10m'"),
        ("OPSCONSOLE_STALE_AFTER_SECONDS", "1.5", "a whole number from 1 to 2592000, not '1.5'"),
        ("OPSCONSOLE_STALE_AFTER_SECONDS", "²", "a whole number from 1 to 2592000"),
        ("OPSCONSOLE_STALE_AFTER_SECONDS", "9" * 5_000, "a whole number from 1 to 2592000"),
        ("OPSCONSOLE_MAX_RECOVERIES", "-1", "a whole number from 1 to 1000, not '-1'"),
        (
            "OPSCONSOLE_RECOVERY_BY_HAND",
            "absent",
            "names of configured queues (none), separated by commas, not 'absent'",
        ),
        ("OPSCONSOLE_SWEEP_PAGE_SIZE", "10001", "a whole number from 1 to 10000, not '10001'"),
        ("OPSCONSOLE_MASS_STALE_SHARE", "0", "a number above 0 and up to 1, such as 0.5, not '0'"),
        ("OPSCONSOLE_MASS_STALE_SHARE", "1.01", "a number above 0 and up to 1"),
        ("OPSCONSOLE_MASS_STALE_SHARE", "nan", "a number above 0 and up to 1"),
        ("OPSCONSOLE_LOST_RESEND", "yes", "auto or on or off, not 'yes'"),
        ("OPSCONSOLE_CSRF_TRUSTED_ORIGINS", "ops.example.com", "origins such as https://ops.example.com"),
        ("OPSCONSOLE_CSRF_TRUSTED_ORIGINS", "https://ops.example.com/x", "origins such as"),
        ("OPSCONSOLE_COLUMNS", "[]", "a JSON object"),
        ("OPSCONSOLE_COLUMNS", "{", "a JSON object"),
        ("OPSCONSOLE_COLUMNS", "[" * 100_000, "a JSON object"),
        ("OPSCONSOLE_COLUMNS", '{"jobs.status": "state"}', "no other keys than jobs.customer_id"),
        ("OPSCONSOLE_COLUMNS", '{"jobs.customer_id": "x; DROP"}', "a plain lower-case column name"),
        ("OPSCONSOLE_COLUMNS", '{"jobs.customer_id": 1}', "a plain lower-case column name"),
        ("OPSCONSOLE_QUEUES", '{"slow": "https://x/y"}', "each has a url"),
        ("OPSCONSOLE_QUEUES", '{"slow": {"dlq_url": "https://x/y"}}', "each has a url"),
        ("OPSCONSOLE_QUEUES", '{"slow": {"url": "https://x/y", "dlq": "z"}}', "each has a url"),
        ("OPSCONSOLE_QUEUES", '{"slow": {"url": "arn:aws:sqs"}}', "a queue's URL such as https://"),
        ("OPSCONSOLE_QUEUES", '{"slow": {"url": 5}}', "a queue's URL such as https://"),
        ("OPSCONSOLE_QUEUES", '{"Slow": {"url": "https://x/y"}}', "names are lower-case words"),
        ("SQS_QUEUE_URL", "jobs", "a queue's URL such as https://"),
        ("SQS_QUEUE_URL", "https://u:secret@sqs:port/", "not 'https://...@sqs:port/'"),
        ("OPSCONSOLE_ARCHIVE", "postgres://u:p/#secret@db/app", "not 'postgres://...@db/app'"),
        (
            "OPSCONSOLE_QUEUES",
            '{"slow": {"url": "https://x/y"}, "slow": {"url": "https://x/z"}}',
            "each key once; 'slow' is",
        ),
        (
            "OPSCONSOLE_QUEUES",
            '{"slow": {"url": "https://x/y", "url": "https://x/z"}}',
            "'url' is there twice",
        ),
        (
            "OPSCONSOLE_ALERT_CHANNELS",
            '{"a": "json://x", "a": "json://y"}',
            "each key once; 'a' is there twice",
        ),
        ("OPSCONSOLE_OIDC_ROLES", '{"g": "Viewer", "g": "Operator"}', "each key once; 'g' is there twice"),
        ("AWS_DEFAULT_REGION", "us east", "a region such as us-east-1, not 'us east'"),
        ("AWS_DEFAULT_REGION", "us-east-1/", "a region such as us-east-1"),
        ("OPSCONSOLE_ALLOWED_HOSTS", "https://ops.example.com", "names of hosts such as ops.example.com"),
        ("OPSCONSOLE_ALLOWED_HOSTS", "a.example.com,b.example.com:8000", "not 'b.example.com:8000'"),
        (
            "OPSCONSOLE_ALLOWED_HOSTS",
            "*.example.com",
            "names of hosts such as ops.example.com or .example.com",
        ),
        ("OPSCONSOLE_ALLOWED_HOSTS", "ops.example.com/", "names of hosts such as ops.example.com"),
        ("OPSCONSOLE_REDACT_PATHS", "9" * 5_000, "JSON paths such as $.customer.email"),
        ("OPSCONSOLE_JOB_ID_PATHS", "$[" + "9" * 5_000 + "]", "JSON paths such as $.customer.email"),
        ("OPSCONSOLE_OIDC_ISSUER", "http://login.example.com", "a URL such as https://login.example.com/"),
        ("OPSCONSOLE_OIDC_ISSUER", "http://127.0.0.1:9/", "a URL such as https://login.example.com/"),
        (
            "OPSCONSOLE_OIDC_ISSUER",
            "https://login.example.com/?x=1",
            "a URL such as https://login.example.com/",
        ),
        ("OPSCONSOLE_OIDC_ROLES", "console=Viewer", "a JSON object such as"),
        ("OPSCONSOLE_OIDC_ROLES", '{"console": []}', "a JSON object such as"),
        ("OPSCONSOLE_OIDC_ROLES", '{"console": {"Viewer": true}}', "a JSON object such as"),
        ("OPSCONSOLE_OIDC_ROLES", '{"": "Viewer"}', "a JSON object such as"),
        ("OPSCONSOLE_OIDC_SECOND_FACTOR", '{"amr": ["mfa", 1]}', "a JSON object such as"),
    ],
)
def test_invalid_values_are_refused_with_message(read: Read, name: str, value: str, accepted: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(**SERVICES | {name: value})
    sentence = str(refusal.value)
    assert sentence.startswith(f"{name} must be ") and accepted in sentence
    assert len(sentence) < 400
    assert "secret" not in sentence


@pytest.mark.parametrize(
    "url",
    [
        "rediss://cache:6379/0?ssl_cert_reqs=none",
        "redis://cache?db=1&socket_timeout=3",
        "unix:///a.sock?db=2",
    ],
)
def test_store_urls_with_parameters_of_the_client_are_accepted(read: Read, url: str) -> None:
    assert read(**SERVICES | {"CACHE_URL": url})["OPSCONSOLE_RATE_LIMIT_STORE"] == url


def test_dead_letter_queue_needs_its_queue(read: Read) -> None:
    with pytest.raises(ImproperlyConfigured, match="SQS_QUEUE_URL must be set when SQS_DLQ_URL is"):
        read(**SERVICES, SQS_DLQ_URL=QUEUE + "dlq")


@pytest.mark.parametrize("others", ["jobs", "jobs-dlq"])
def test_dead_letter_queue_cannot_be_a_work_queue(read: Read, others: str) -> None:
    slow = f'{{"slow": {{"url": "{QUEUE}{others}"}}}}'
    with pytest.raises(ImproperlyConfigured, match=r"OPSCONSOLE_QUEUES must be different URLs"):
        read(**SERVICES, SQS_QUEUE_URL=QUEUE + "jobs", SQS_DLQ_URL=QUEUE + "jobs-dlq", OPSCONSOLE_QUEUES=slow)


def test_queues_from_all_variables(read: Read) -> None:
    slow = f'{{"slow": {{"url": "{QUEUE}slow", "dlq_url": "{QUEUE}dlq"}}, "bare": {{"url": "{QUEUE}bare"}}}}'
    settings = read(
        **SERVICES, SQS_QUEUE_URL=QUEUE + "jobs", SQS_DLQ_URL=QUEUE + "dlq", OPSCONSOLE_QUEUES=slow
    )
    assert settings["QUEUES"] == {
        "default": QueueConfig("default", QUEUE + "jobs", QUEUE + "dlq"),
        "slow": QueueConfig("slow", QUEUE + "slow", QUEUE + "dlq"),
        "bare": QueueConfig("bare", QUEUE + "bare", None),
    }


def test_empty_variable_counts_as_unset(read: Read) -> None:
    names = [*env.known, "SQS_QUEUE_URL", "SLACK_WEBHOOK_URL"]
    empty = read(**dict.fromkeys(names, "  ") | SERVICES)
    unset = read(**SERVICES)
    names_of_settings = [name for name in unset if name.isupper()]
    assert {name: empty[name] for name in names_of_settings} == {
        name: unset[name] for name in names_of_settings
    }


def test_database_makes_it_production(read: Read) -> None:
    production = read(**SERVICES)
    assert production["OPSCONSOLE_ENV"] == "production"
    assert production["ALLOWED_HOSTS"] == []
    assert production["SESSION_COOKIE_SECURE"] and production["CSRF_COOKIE_SECURE"]
    assert production["SECURE_HSTS_SECONDS"] > 0 and not production["DEBUG"]
    development = read(**SERVICES, OPSCONSOLE_ENV="development")
    assert development["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert not development["SESSION_COOKIE_SECURE"] and not development["DEBUG"]


def test_database_behind_a_socket_and_with_options(read: Read) -> None:
    url = "postgres://u@/app?host=%2FRun%2Fpg&sslmode=disable&connect_timeout=9"
    database = read(**SERVICES | {"DATABASE_URL": url})["DATABASES"]["default"]
    assert database["HOST"] == "/Run/pg"
    options = database["OPTIONS"]
    assert (options["application_name"], options["connect_timeout"]) == ("opsconsole", 9)
    assert options["sslmode"] == "disable"
    assert "host" not in options


def test_dropped_connection_is_noticed_within_a_minute(read: Read) -> None:
    options = read(**SERVICES)["DATABASES"]["default"]["OPTIONS"]
    silent = options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"]
    assert options["keepalives"] == 1
    assert silent <= 60
    assert 5_000 <= options["tcp_user_timeout"] <= 60_000


def test_keepalives_are_those_of_the_url_when_it_names_them(read: Read) -> None:
    url = SERVICES["DATABASE_URL"] + "?keepalives_idle=300&keepalives=0&tcp_user_timeout=0"
    options = read(**SERVICES | {"DATABASE_URL": url})["DATABASES"]["default"]["OPTIONS"]
    assert (options["keepalives"], options["keepalives_idle"], options["tcp_user_timeout"]) == (0, 300, 0)
    assert options["keepalives_interval"] == 10


@pytest.mark.django_db(transaction=True)
def test_keepalive_options_reach_the_socket() -> None:
    described = connection.settings_dict
    with (
        CuttingProxy(f"{described['HOST']}/.s.PGSQL.{described['PORT'] or 5432}") as proxy,
        proxy.as_default(),
        # At this point the default connection goes through the proxy, over TCP.
        connections["default"].cursor() as cursor,
        socket.socket(fileno=os.dup(cursor.connection.fileno())) as ours,
    ):
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if sys.platform == "linux":
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_content_policy_allows_nothing_inline(read: Read) -> None:
    directives = read(**SERVICES)["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    assert directives["default-src"] == ["'none'"]
    sources = {source for listed in directives.values() for source in listed}
    assert sources == {"'none'", "'self'"}


def test_every_setting_has_its_heading_and_its_default_in_the_docs(read: Read) -> None:
    read(**SERVICES)
    page = (REPOSITORY / "docs" / "settings.md").read_text()
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(dict.fromkeys(re.findall(r"^### `(\w+)`", page, re.MULTILINE)))
    assert set(sections) == set(env.known)
    for name, default in env.known.items():
        if default and name not in DEPENDENT_DEFAULTS:
            assert re.search(rf"\b[dD]efault:? `{re.escape(default)}`", sections[name]), (name, default)


# Read by the console, and no secret although the name sounds like one.
PUBLIC = {
    "AWS_ENDPOINT_URL",
    "OPSCONSOLE_PUBLIC_URL",
    "SQS_QUEUE_URL",
    "SQS_DLQ_URL",
    "OPSCONSOLE_PROBE_QUEUE_URL",
}
PRIVATE = {
    "DATABASE_URL": "postgres://u:p@db:5432/app",
    "OPSCONSOLE_OWNER_DATABASE_URL": "postgres://o:p@db:5432/app",
    "CACHE_URL": "redis://:p@cache:6379/0",
    "OPSCONSOLE_RATE_LIMIT_STORE": "redis://:p@cache:6379/1",
    "OPSCONSOLE_SECRET_KEY": "k" * 32,
    "OPSCONSOLE_API_KEY_PEPPERS": f"{'p' * 32},{'q' * 32}",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/x",
    "OPSCONSOLE_ALERT_CHANNELS": '{"mail": "mailtos://u:p@example.com?to=t@example.com"}',
    "OPSCONSOLE_DEADMAN_SWEEP_URL": "https://hc-ping.com/a",
    "OPSCONSOLE_DEADMAN_CHECK_URL": "https://hc-ping.com/b",
}


def test_every_secret_may_come_from_a_file(read: Read, tmp_path: Path) -> None:
    told = read(**PRIVATE)
    files = {}
    for name, value in PRIVATE.items():
        file = tmp_path / name
        file.write_text(f"{value}\n")
        files[f"{name}_FILE"] = str(file)
    found = read(**files)
    names = [name for name in told if name.isupper()]
    assert {name: found[name] for name in names} == {name: told[name] for name in names}
    assert found["OPSCONSOLE_ENV"] == "production"
    assert not checks.check_names(None)
    for name, value in PRIVATE.items():
        with pytest.raises(ImproperlyConfigured, match=f"{name} and {name}_FILE are both set"):
            read(**files | {name: value})


def test_byte_order_mark_of_a_file_is_no_part_of_the_secret(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xef\xbb\xbf" + b"k" * 40 + b"\r\n")
    assert read(**SERVICES, OPSCONSOLE_SECRET_KEY_FILE=str(file))["SECRET_KEY"] == "k" * 40


def test_file_for_a_setting_that_is_no_secret_is_told(read: Read) -> None:
    read(**SERVICES, SQS_QUEUE_URL_FILE="/run/url", OPSCONSOLE_ALLOWED_HOSTS_FILE="/run/hosts")
    told = [(each.msg.split(" ")[0], each.hint) for each in checks.check_names(None)]
    assert told == [
        ("OPSCONSOLE_ALLOWED_HOSTS_FILE", "Only secrets are read from files. Set OPSCONSOLE_ALLOWED_HOSTS."),
        ("SQS_QUEUE_URL_FILE", "Only secrets are read from files. Set SQS_QUEUE_URL."),
    ]


@pytest.mark.parametrize("hosts", ["*", ".example.com", "a-b.example.com,10.0.0.7", "[::1],localhost"])
def test_hosts_as_django_compares_them_are_accepted(read: Read, hosts: str) -> None:
    assert read(**SERVICES, OPSCONSOLE_ALLOWED_HOSTS=hosts)["ALLOWED_HOSTS"] == hosts.split(",")


def test_secrets_are_read_as_such(read: Read) -> None:
    read(**SERVICES)
    sounding = {name for name in env.known if re.search(r"SECRET|TOKEN|PASSWORD|PEPPER|DSN|URL", name)}
    assert sounding - PUBLIC <= env.secret_names >= PRIVATE.keys()
    page = (REPOSITORY / "docs" / "settings.md").read_text()
    [listed] = re.findall(r"^These are (.*?)\.\n\n", page, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == env.secret_names


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=without_settings() | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_settings_import_no_heavy_modules() -> None:
    heavy = "{'boto3', 'moto', 'psutil', 'psycopg', 'redis', 'django_q', 'jobs', 'opsconsole.embedded'}"
    answer = python(
        "-c", f"import sys, opsconsole.settings; print(sorted({heavy} & sys.modules.keys()))", **SERVICES
    )
    assert (answer.stdout, answer.stderr) == ("[]\n", "")


def test_production_without_services_is_refused_and_starts_none(tmp_path: Path) -> None:
    var = tmp_path / "var"
    answer = python("manage.py", "check", OPSCONSOLE_ENV="production", OPSCONSOLE_VAR_DIR=str(var))
    assert answer.returncode == 1
    refused = set(re.findall(r"opsconsole\.E\d+", answer.stderr))
    assert refused == {f"opsconsole.E00{number}" for number in (2, 3, 4, 5, 6)}
    assert not var.exists()


@pytest.mark.parametrize("entry_point", ["wsgi", "asgi"])
def test_entry_points_do_not_serve_what_the_checks_refuse(entry_point: str) -> None:
    answer = python("-c", f"import opsconsole.{entry_point}", **SERVICES, OPSCONSOLE_DEBUG="true")
    assert answer.returncode == 1
    assert "opsconsole.E001" in answer.stderr and "opsconsole.E002" in answer.stderr


def test_whole_production_environment_passes_djangos_own_deployment_checks() -> None:
    answer = python(
        *("manage.py", "check", "--deploy", "--fail-level", "WARNING"),
        **(SERVICES | STRONG),
        OPSCONSOLE_SECRET_KEY="".join(chr(ord("a") + number % 26) + str(number) for number in range(40)),
        OPSCONSOLE_ALLOWED_HOSTS="ops.example.com",
        SQS_QUEUE_URL=QUEUE + "jobs",
        SQS_DLQ_URL=QUEUE + "jobs-dlq",
        SLACK_WEBHOOK_URL="https://hooks.slack.com/services/T/B/x",
        OPSCONSOLE_PUBLIC_URL="https://ops.example.com",
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    "value",
    ["{", "[]", '{"mail": ""}', '{"mail": 1}', '{"Mail": "json://secret"}', '{"slack": "json://secret"}'],
)
def test_nonsensical_alert_channels_are_refused_without_their_secrets(read: Read, value: str) -> None:
    with pytest.raises(
        ImproperlyConfigured, match="OPSCONSOLE_ALERT_CHANNELS must be a JSON object"
    ) as refused:
        read(**SERVICES, OPSCONSOLE_ALERT_CHANNELS=value)
    assert "secret" not in str(refused.value)


def test_plain_http_webhook_is_allowed_only_locally_in_development(read: Read) -> None:
    local, away = "http://127.0.0.1:9000/x", "http://hooks.slack.com/services/secret"
    assert (
        read(**SERVICES, OPSCONSOLE_ENV="development", SLACK_WEBHOOK_URL=local)["SLACK_WEBHOOK_URL"] == local
    )
    for environment, url in (("development", away), ("production", local), ("production", "secret")):
        with pytest.raises(ImproperlyConfigured, match="SLACK_WEBHOOK_URL must be a URL") as refused:
            read(**SERVICES, OPSCONSOLE_ENV=environment, SLACK_WEBHOOK_URL=url)
        assert "secret" not in str(refused.value)
