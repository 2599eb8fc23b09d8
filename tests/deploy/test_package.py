"""Tests of the wheel: it is complete, and runs in a directory outside the repository."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import Parser
from pathlib import Path
from urllib.parse import urljoin

import opsconsole
from tests.conftest import OURS
from tests.databases import Database
from tests.deploy.installing import run
from tests.programs import program
from tests.repository import REPOSITORY, tracked
from tests.waiting import wait_until

ROOMS = ("alerts", "jobs", "opsconsole", "ratelimits")
# Directories outside the packages, and their place in the wheel.
BESIDE = {
    "templates/": "opsconsole/templates/",
    "docs/runbooks/": "opsconsole/docs/runbooks/",
    "clients/python/src/opsconsole_worker/": "opsconsole_worker/",
}
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"


def test_wheel_contains_only_runtime_files(wheel: Path) -> None:
    expected = {
        str(path.relative_to(REPOSITORY)) for path in tracked(*(f"{room}/*" for room in (*ROOMS, *BESIDE)))
    }
    for beside, inside in BESIDE.items():
        expected = {re.sub(f"^{beside}", inside, name) for name in expected}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_wheel_requires_pinned_versions(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    asked = metadata.get_all("Requires-Dist") or []
    for extra in ("embedded", "traces"):
        named = [line.partition(";")[0].strip() for line in asked if f"extra == '{extra}'" in line]
        assert sorted(named) == pinned(f"requirements-{extra}.txt")
    assert sorted(line for line in asked if "extra ==" not in line) == pinned("requirements.txt")
    assert metadata["Version"] == opsconsole.__version__


def pinned(name: str) -> list[str]:
    lines = (REPOSITORY / name).read_text().splitlines()
    return sorted(line for line in lines if line and not line.startswith("#"))


def test_version_needs_no_settings_or_services(programs: Path, tmp_path: Path) -> None:
    # Every other command refuses this setting.
    nonsense = {"OPSCONSOLE_ENV": "nonsense"}
    for command in (("opsconsole", "--version"), ("python", "-m", "opsconsole", "--version")):
        told = run(tmp_path, str(programs / command[0]), *command[1:], **nonsense)
        assert told == f"opsconsole {opsconsole.__version__}\n"
    assert list(tmp_path.iterdir()) == []


def test_invalid_setting_is_reported_in_a_sentence(programs: Path, tmp_path: Path) -> None:
    refused = subprocess.run(
        [programs / "opsconsole", "check"],
        cwd=tmp_path,
        env=os.environ | {"OPSCONSOLE_ENV": "nonsense"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 3
    assert refused.stderr.startswith("OPSCONSOLE_ENV ") and "Traceback" not in refused.stderr


def test_installed_console_starts_its_processes(programs: Path, tmp_path: Path) -> None:
    # A module in the current directory must not shadow one of the console's.
    (tmp_path / "jobs.py").write_text("raise AssertionError")
    script = "import subprocess; from opsconsole import paths; subprocess.run([*paths.command_words(), '--version'], check=True)"
    told = run(tmp_path, str(programs / "python"), "-P", "-c", script)
    assert told == f"opsconsole {opsconsole.__version__}\n"


def test_installed_console_serves_from_another_directory(
    programs: Path, tmp_path: Path, theirs: Database
) -> None:
    production = {
        "OPSCONSOLE_ENV": "production",
        "DATABASE_URL": theirs.url(),
        "CACHE_URL": os.environ["CACHE_URL"],
        "SQS_QUEUE_URL": QUEUE,
        "SQS_DLQ_URL": f"{QUEUE}-dlq",
        "OPSCONSOLE_SECRET_KEY": "long enough to be taken for a secret of production",
        "OPSCONSOLE_ALLOWED_HOSTS": "127.0.0.1",
    }
    console = str(programs / "opsconsole")
    for command in (["check"], ["migrate", "-v0"], ["collectstatic", "--noinput", "-v0"]):
        run(tmp_path, console, *command, **production)
    assert (tmp_path / "var" / "static" / "staticfiles.json").exists()
    assert not list(programs.parent.glob("lib/python3*/site-packages/**/var"))

    runbook = "from alerts import runbooks; print(runbooks.find('dlq_not_empty').html)"
    assert "<ol><li>" in run(tmp_path, console, "shell", "--no-imports", "-v0", "-c", runbook, **production)

    wanted = ("database", "migrations", "sessions", "grants", "job", "limit")
    only = [word for name in wanted for word in ("--only", name)]
    assert run(tmp_path, console, "verify", *only, **production).endswith("6 checks: 6 ok.\n")

    with serving(programs, tmp_path, production) as address:
        with urllib.request.urlopen(f"{address}/healthz", timeout=20) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{address}/admin/login/", timeout=20) as answer:
            page = answer.read().decode()
        assert 'name="password"' in page and "Ops console" in page
        sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
        assert [sheet for sheet in sheets if "opsconsole/console." in sheet]
        for sheet in sheets:
            with urllib.request.urlopen(urljoin(address, sheet), timeout=20) as answer:
                assert answer.headers.get_content_type() == "text/css" and answer.read()


@contextmanager
def serving(programs: Path, folder: Path, environ: dict[str, str]) -> Iterator[str]:
    """Serve the pages from a folder and yield their URL."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    log = folder / "web.log"
    with log.open("wb") as output:
        served = program(
            [
                programs / "python",
                "-m",
                "gunicorn",
                "--config",
                "python:opsconsole.serving",
                "--bind",
                "127.0.0.1:0",
            ],
            cwd=folder,
            env=inherited | environ,
            stdout=output,
            stderr=output,
            end_signal=signal.SIGTERM,
        )
        with served:
            wait_until(lambda: "Booting worker" in log.read_text(), timeout=60)
            yield re.findall(r"Listening at: (http://\S+)", log.read_text())[0]


def test_worker_alone_is_a_small_wheel_of_the_same_version(tmp_path: Path) -> None:
    folder = Path("clients", "python")
    for path in tracked(f"{folder}/*"):
        copy = tmp_path / path.relative_to(REPOSITORY / folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    # The source archive first, and the wheel from it.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "built", "."]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    [wheel] = (tmp_path / "built").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = Parser().parsestr(archive.read(metadata).decode())
    assert (said["Name"], said["Version"]) == ("opsconsole-worker", opsconsole.__version__)
    assert {re.split(r"[\[<>=]", each)[0] for each in said.get_all("Requires-Dist") or []} == {
        "boto3",
        "psycopg",
    }
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == {
        str(path.relative_to(REPOSITORY / folder / "src")) for path in tracked(f"{folder}/src/*")
    }
