"""Tests of metrics: right with several processes and after their ends, and named as Prometheus wants them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from opsconsole.kit import metric_files, metric_values, metrics
from tests.counting import Counted
from tests.repository import REPOSITORY

COUNT = """
import sys
from pathlib import Path
from django.conf import settings
settings.configure(OPSCONSOLE_METRICS_TOKENS=["x"], OPSCONSOLE_METRICS_DIR=Path(sys.argv[1]))
from opsconsole.kit import metrics
for _ in range(int(sys.argv[2])):
    metrics.SWEEPS.count(mode="paused")
    metrics.SWEEP_SECONDS.observe(0.2)
"""

FORK = (
    COUNT
    + """
import os
from opsconsole.kit import metric_files
child = os.fork()
if not child:
    metrics.SWEEPS.count(mode="paused")
    held = {each.resolve() for each in Path("/proc/self/fd").iterdir() if each.exists()}
    os._exit(0 if sum("counter_" in each.name for each in held) == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
metrics.SWEEPS.count(mode="paused")
metric_files._changing.acquire()
child = os.fork()
if not child:
    metrics.SWEEPS.count(mode="paused")
    os._exit(0)
metric_files._changing.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
)

REMOVE = """
import shutil
from opsconsole.kit import metric_files
folder = Path(sys.argv[1])
def tell():
    with metric_files.locked(folder):
        lines = metric_files.exposition(folder).decode().splitlines()
    print(*(line.split()[-1] for line in lines if line.startswith("opsconsole_sweeps_total{")))
    metric_files._looked_at = -metric_files.LOOK_SECONDS
tell()
shutil.rmtree(folder)
metrics.SWEEPS.count(mode="paused")
tell()
for each in folder.glob("*.db"):
    each.unlink()
metrics.SWEEPS.count(mode="paused")
metrics.SWEEPS.count(mode="paused")
tell()
"""


def other_process(folder: Path, times: int, code: str = COUNT) -> None:
    """Count in a process that ends."""
    subprocess.run(
        [sys.executable, "-c", code, str(folder), str(times)], cwd=REPOSITORY, check=True, timeout=60
    )


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("*.db") if "_kept." not in each.name)


def test_processes_are_added_up_and_their_ends_lose_nothing(counted: Counted) -> None:
    metrics.SWEEPS.count(mode="paused")
    for times in (2, 3):
        other_process(counted.folder, times)
        other_process(counted.folder, times)
        assert counted("opsconsole_sweeps_total", mode="paused") == {2: 5, 3: 11}[times]
        assert all(str(os.getpid()) in name for name in files(counted.folder)), (
            "a file of an ended process is left"
        )
    assert counted("opsconsole_sweep_duration_seconds_count") == 10
    assert counted("opsconsole_sweep_duration_seconds_bucket", le="0.1") == 0
    assert counted("opsconsole_sweep_duration_seconds_bucket", le="0.25") == 10
    metrics.SWEEPS.count(mode="paused")
    assert counted("opsconsole_sweeps_total", mode="paused") == 12


def test_fork_counts_in_a_file_of_its_own_and_holds_none_of_its_parent(counted: Counted) -> None:
    """The parent counts once, the fork, the parent again, and a fork that was made while a thread held the lock."""
    other_process(counted.folder, 1, FORK)
    assert counted("opsconsole_sweeps_total", mode="paused") == 4


def test_files_of_ended_processes_are_merged_without_scrapes(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sets a token, and Prometheus does not come, while a timer starts commands every two minutes."""
    for _ in range(3):
        other_process(counted.folder, 1)
    before = len(files(counted.folder))
    assert before >= 6
    monkeypatch.setattr(metric_files, "MOST_FILES", 4)
    monkeypatch.setattr(metric_files, "_ready", None)
    metrics.SWEEPS.count(mode="paused")
    assert len(files(counted.folder)) <= before - 6 + 2
    assert counted("opsconsole_sweeps_total", mode="paused") == 4


def test_labels_make_a_limited_number_of_series(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_files, "_ready", None)
    monkeypatch.setattr(metric_files, "MOST_SERIES", 2)
    for number in range(5):
        for _ in range(2):
            metrics.DEAD_LETTERS.count(queue=f"made-up-{number}", outcome="found")
    assert counted("opsconsole_dead_letters_total", queue="made-up-1", outcome="found") == 2
    assert counted("opsconsole_dead_letters_total", queue="made-up-2", outcome="found") == 0
    assert counted("opsconsole_dead_letters_total", queue="(other)", outcome="(other)") == 6


def test_file_is_merged_once_whoever_has_its_name_and_wherever_the_merge_ends(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends at any step of a merge leaves files of which each count is told once."""
    for step in ("rename", "unlink"):
        before = counted("opsconsole_sweeps_total", mode="paused")
        other_process(counted.folder, 4)
        with monkeypatch.context() as patched:
            patched.setattr(Path, step, _killed)
            with pytest.raises(KeyboardInterrupt), metric_files.locked(counted.folder):
                metric_files.keep_ended(counted.folder)
        for _ in range(2):
            assert counted("opsconsole_sweeps_total", mode="paused") == before + 4, step


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_living_process_of_another_container_is_not_taken_for_an_ended_one(counted: Counted) -> None:
    """Pids mean nothing in another container; the lock on the file does."""
    other_process(counted.folder, 1)
    [name] = [
        each
        for each in files(counted.folder)
        if each.startswith("counter_") and f".{os.getpid()}." not in each
    ]
    theirs = (counted.folder / name).rename(counted.folder / "counter_other-host.1.aa.db")
    with theirs.open("rb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        for _ in range(2):
            assert counted("opsconsole_sweeps_total", mode="paused") == 1
        assert theirs.exists()
    assert counted("opsconsole_sweeps_total", mode="paused") == 1
    assert not theirs.exists()


def test_file_without_contents_or_with_nonsense_is_passed_over(counted: Counted) -> None:
    (counted.folder / "counter_h.1.aa.db").touch()
    (counted.folder / "counter_h.2.aa.db").write_bytes(b"\xff\xff\xff\x7f" + b"nonsense" * 600)
    metrics.SWEEPS.count(mode="armed")
    assert counted("opsconsole_sweeps_total", mode="armed") == 1


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("mmap length")]
)
def test_file_that_cannot_grow_stops_counting_and_nothing_else(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    failed_at: dict[Path, float] = {}
    monkeypatch.setattr(metric_files, "_failed_at", failed_at)
    name = f"told-{type(error).__name__}"
    with monkeypatch.context() as patched:
        patched.setattr(metric_values.ReservedFile, "_init_value", full)
        metrics.JOB_EVENTS.count(kind=name, queue="default")
        metrics.SWEEPS.count(mode="paused")
        assert metric_files.folder() is None
        assert len(caplog.records) == 1
    failed_at.clear()
    assert metric_files.folder() == counted.folder
    metrics.JOB_EVENTS.count(kind=name, queue="default")
    assert counted("opsconsole_job_events_total", kind=name, queue="default") == 1


def test_space_is_reserved_before_it_is_mapped(tmp_path: Path) -> None:
    """A write to a mapped page without a block ends the process with SIGBUS when the disk is full."""
    path = tmp_path / "counter_h.1.db"
    metric_values.write(path, {f"key-{number}" * 20: 1.0 for number in range(1_000)})
    told = path.stat()
    assert told.st_size > metric_values.FIRST_SIZE
    assert told.st_blocks * 512 >= told.st_size


def test_scrape_does_not_wait_for_one_that_hangs(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_files, "LOCK_SECONDS", 0)
    with (
        metric_files.locked(counted.folder),
        pytest.raises(metric_files.Busy),
        metric_files.locked(counted.folder),
    ):
        pass


def test_removed_files_are_told_and_begun_anew(tmp_path: Path) -> None:
    """What cleans folders takes the files away: counting on in them would be told to nobody."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT + REMOVE, str(tmp_path / "metrics"), "3"],
        cwd=REPOSITORY,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["3.0", "1.0", "2.0"]
    assert done.stderr.count("The files of /metrics were removed.") == 2


def test_without_a_token_nothing_is_counted(settings: Settings, tmp_path: Path) -> None:
    settings.OPSCONSOLE_METRICS_TOKENS = []
    settings.OPSCONSOLE_METRICS_DIR = tmp_path
    metrics.SWEEPS.count(mode="paused")
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_stops_nothing(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    settings.OPSCONSOLE_METRICS_TOKENS = ["x" * 32]
    settings.OPSCONSOLE_METRICS_DIR = tmp_path / "file"
    metrics.SWEEPS.count(mode="paused")
    metrics.SWEEPS.count(mode="paused")
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "Nothing is counted for /metrics, because"
    ]


@pytest.mark.parametrize("metric", metrics.ALL, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"opsconsole(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_seconds" if metric.buckets else "_total")
    assert metric.help_text.endswith(".")
    assert list(metric.buckets) == sorted(metric.buckets)
