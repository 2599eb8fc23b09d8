"""Tests of the reports to Sentry: sent over its real protocol, without people, contents and secrets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from opsconsole import error_reports
from tests.collector import collector
from tests.repository import REPOSITORY

PROGRAM = """
import django, logging, os
django.setup()
import sentry_sdk
logging.getLogger("jobs").warning("A line before the error")
secret_in_a_variable = "4111-1111"
try:
    raise ValueError("It failed\\nDETAIL: Failing row contains 4111-1111, " + os.environ["OPSCONSOLE_SECRET_KEY"])
except ValueError:
    logging.getLogger("jobs").exception("The figure can't be read: %s", "first\\n4111-1111")
sentry_sdk.flush(10)
"""


# Each process of a cluster is such a fork.
FORKS = """
import django, logging, os
django.setup()
from opsconsole import error_reports
from opsconsole.kit.supervision.supervisor import Program, Supervisor

def told():
    logging.getLogger("jobs").error("Told by a fork that ends")

def failing():
    raise ValueError("Failed in a fork")

def cut_off():
    logging.getLogger("jobs").critical("Told before a cut")
    error_reports.flush()
    os._exit(1)

with Supervisor(lambda *_: None) as supervisor:
    for number, run in enumerate((told, failing, cut_off)):
        child = supervisor.start(Program(str(number), ["fork"], run=run, once=True))
        child._process.wait()
"""


def test_error_is_reported_without_contents() -> None:
    report = reported(PROGRAM)
    assert "ValueError" in report and "It failed" in report and "A line before the error" in report
    assert not [each for each in ("4111", "a-secret-of-forty") if each in report]


@pytest.mark.parametrize("said", ["Told by a fork that ends", "Failed in a fork", "Told before a cut"])
def test_last_error_of_a_fork_is_reported(of_forks: str, said: str) -> None:
    assert said in of_forks


@pytest.fixture(scope="module")
def of_forks() -> str:
    return reported(FORKS)


def reported(program: str) -> str:
    """Run a program; return what it reported."""
    with collector() as (port, received):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            env={
                "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
                "OPSCONSOLE_ENV": "development",
                "DATABASE_URL": "postgres://unused.invalid/unused",
                "CACHE_URL": "redis://unused.invalid",
                "OPSCONSOLE_SECRET_KEY": "a-secret-of-forty-characters-for-the-test",
                "SENTRY_DSN": f"http://public@127.0.0.1:{port}/1",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return b"".join(each.body for each in received).decode()


def test_without_its_setting_the_library_is_not_loaded() -> None:
    error_reports.begin()
    assert "sentry_sdk" not in sys.modules


@pytest.mark.parametrize("unwanted", ["ada@example.com", "sessionid", "olga", "a-secret", "Mozilla", "4111"])
def test_reports_have_nothing_of_people(unwanted: str) -> None:
    event = {
        "request": {
            "url": "https://ops.example.com/admin/jobs/job/?q=ada@example.com",
            "method": "POST",
            "headers": {"User-Agent": "Mozilla"},
            "cookies": {"sessionid": "1"},
            "data": {"reason": "4111"},
            "query_string": "q=ada@example.com",
        },
        "user": {"username": "olga"},
        "extra": {"sys.argv": ["--as", "olga"]},
        "exception": {"values": [{"type": "IntegrityError", "value": "refused\nDETAIL: 4111"}]},
        "logentry": {"message": "failed: %s", "params": ["4111"], "formatted": "failed: a-secret-1"},
    }
    told = repr(error_reports.clean(event, ("a-secret-1",)))
    assert "/admin/jobs/job/" in told and "IntegrityError" in told
    assert unwanted not in told
