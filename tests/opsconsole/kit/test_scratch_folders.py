"""Tests of folders for unfinished files: a process that was killed leaves none behind for good."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from opsconsole.kit.scratch_folders import scratch_folder
from tests.repository import REPOSITORY

HOLDING = """
import sys
from opsconsole.kit.scratch_folders import scratch_folder
with scratch_folder("tests") as folder:
    (folder / "month.part").write_bytes(b"0" * 1000)
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def holding(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that has a folder, and return both. The folder looks old."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    os.utime(folder, (0, 0))
    return process, folder


def test_folder_of_a_killed_process_is_removed_by_the_next_one(place: Path) -> None:
    process, folder = holding(place)
    with process:
        process.kill()
    assert (folder / "month.part").exists()

    with scratch_folder("tests") as ours:
        assert list(place.iterdir()) == [ours]
    assert not list(place.iterdir())


def test_folder_of_a_living_process_stays(place: Path) -> None:
    process, folder = holding(place)
    with process:
        with scratch_folder("tests"):
            assert (folder / "month.part").exists()
        process.communicate("")
    assert not folder.exists()


def test_folders_that_are_new_or_for_something_else_or_links_stay(place: Path) -> None:
    target = place / "theirs"
    new, other, link = (place / f"opsconsole-{name}" for name in ("tests-new", "other-x", "tests-link"))
    for each in (target, new, other):
        each.mkdir()
        (each / "file").touch()
    link.symlink_to(target)
    os.utime(target, (0, 0))
    os.utime(other, (0, 0))
    with scratch_folder("tests"):
        assert all((each / "file").exists() for each in (target, new, other, link))
