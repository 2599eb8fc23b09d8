"""Tests that the worker needs neither Django nor the console, and starts small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.repository import REPOSITORY

SOURCES = REPOSITORY / "clients" / "python" / "src"
IMPORT_ALL = """
import importlib, pkgutil, sys

class Refuser:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "environ", "requests", "jobs", "alerts", "ratelimits", "opsconsole"}:
            raise ImportError(f"{name} is not for workers")

sys.meta_path.insert(0, Refuser())
import opsconsole_worker
names = [module.name for module in pkgutil.walk_packages(opsconsole_worker.__path__, "opsconsole_worker.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names), opsconsole_worker.Consumer.__name__, opsconsole_worker.RunContext.__name__)
"""


def alone(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python where nothing of the console can be imported, with these variables only."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=kept | {"PYTHONPATH": str(SOURCES)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_module_is_imported_without_django(tmp_path: Path) -> None:
    told = alone("-c", IMPORT_ALL, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    count, *names = told.stdout.split()
    assert int(count) > 30
    assert names == ["Consumer", "RunContext"]


def test_help_reads_neither_the_database_driver_nor_boto3(tmp_path: Path) -> None:
    told = alone("-X", "importtime", "-m", "opsconsole_worker", "--help", cwd=tmp_path)
    assert told.returncode == 0
    assert "examples:" in told.stdout
    assert "exit codes:" in told.stdout
    read = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert "opsconsole_worker.command_line" in read
    assert not {"psycopg", "boto3", "botocore"} & read
