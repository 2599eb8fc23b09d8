"""Tests of migrations as frozen: since the commit in BASE they are only added, never changed or removed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = Path(__file__).with_name("BASE").read_text().strip()
MIGRATION = re.compile(r"\w+/migrations/\d{4}_\w+\.py")


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, check=False)


@pytest.fixture(autouse=True)
def _base_is_here() -> None:
    assert re.fullmatch("[0-9a-f]{40}", BASE), "tests/upgrade/BASE holds the full hash of a commit."
    if git("merge-base", "--is-ancestor", BASE, "HEAD").returncode == 0:
        return
    if git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        pytest.fail(
            f"This clone is shallow and lacks {BASE}, which tests/upgrade/BASE names. Run `git fetch --unshallow`; "
            "in CI, let the checkout fetch the whole history (actions/checkout: fetch-depth: 0).",
            pytrace=False,
        )
    pytest.fail(
        f"{BASE}, which tests/upgrade/BASE names, is no ancestor of HEAD. If the history was rewritten, write the new hash "
        "of that commit there.",
        pytrace=False,
    )


def test_migrations_are_only_added() -> None:
    listed = git("ls-tree", "-r", "--name-only", BASE).stdout.decode().splitlines()
    migrations = [path for path in listed if MIGRATION.fullmatch(path)]
    assert migrations
    changed = [path for path in migrations if _now(path) != git("show", f"{BASE}:{path}").stdout]
    assert not changed, (
        f"Changed or removed since {BASE[:9]}: {', '.join(changed)}. Databases have run them as they were: "
        "restore them and write a new migration (python manage.py makemigrations)."
    )


def _now(path: str) -> bytes | None:
    file = REPOSITORY / path
    return file.read_bytes() if file.exists() else None
