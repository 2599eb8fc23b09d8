"""The files of metrics: one per process and kind, added up for a scrape, so that any process can answer for all of its host.

Counters never go back: when a process has ended, its file is added to one that is kept. prometheus_client has the files,
and leaves it to its users that they would become more with every restart.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from django.conf import settings

logger = logging.getLogger(__name__)

KEPT = "kept"
# After a failure, such as a full disk, nothing is counted for so long.
RETRY_SECONDS = 60
LOCK_SECONDS = 5
# How often a process looks whether its files are still there.
LOOK_SECONDS = 10
# What a file that can't be written or read raises in the client.
FAILURES = (OSError, ValueError, RuntimeError, struct.error)
_KINDS = ("counter", "histogram")

# So many files of ended processes may wait for the next scrape. Without scrapes, a process that begins merges them.
MOST_FILES = 64
# Values of labels come from settings, routes and codes. If a process sees more all the same, the rest are one series.
MOST_SERIES = 2_000
OTHER = "(other)"

Series = tuple[str, tuple[str, ...]]

_changing = threading.Lock()
_ready: Path | None = None
_failed_at: dict[Path, float] = {}
_looked_at = 0.0
# The client's counters and histograms by name and values of labels, and how many a name has.
_series: dict[Series, Any] = {}
_sizes: Counter[str] = Counter()


class Busy(Exception):
    """Another process reads or merges the files for too long."""


def folder() -> Path | None:
    """Return where the files are; None if nothing is counted, because no token is set or the folder can't be written."""
    if not settings.OPSCONSOLE_METRICS_TOKENS:
        return None
    path: Path = settings.OPSCONSOLE_METRICS_DIR
    if path is _ready and _is_still_there():
        return path
    if time.monotonic() - _failed_at.get(path, -RETRY_SECONDS) < RETRY_SECONDS:
        return None
    with _changing:
        return path if path is _ready or _prepare(path) else None


def _is_still_there() -> bool:
    """Look now and then whether somebody has removed the files, as what cleans folders does; then this process begins anew."""
    global _looked_at, _ready  # noqa: PLW0603 - see ``_prepare``
    if time.monotonic() - _looked_at < LOOK_SECONDS:
        return True
    from opsconsole.kit import metric_values  # noqa: PLC0415 - see ``_prepare``

    with _changing:
        _looked_at = time.monotonic()
        if not metric_values.have_vanished():
            return True
        _ready = None
    logger.warning("The files of /metrics were removed. What this process counts begins at zero.")
    return False


def _prepare(path: Path) -> bool:
    global _ready  # noqa: PLW0603 - this process's folder
    from opsconsole.kit import metric_values  # noqa: PLC0415 - it takes memory, where nothing is counted in vain

    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".lock").touch()
    except OSError as error:
        failed(path, error)
        return False
    if len(list(path.glob("*.db"))) > MOST_FILES:
        # Whoever has the lock merges them.
        with suppress(Busy, *FAILURES), locked(path, seconds=0):
            keep_ended(path)
    metric_values.count_in(path)
    _series.clear()
    _sizes.clear()
    _ready = path
    return True


def _forget() -> None:
    """Begin anew after a fork: the parent counts in its files, and a thread that the child does not have may hold the lock."""
    global _changing, _ready  # noqa: PLW0603 - see ``_prepare``
    _changing = threading.Lock()
    _ready = None
    _series.clear()


os.register_at_fork(after_in_child=_forget)


def failed(path: Path, error: Exception) -> None:
    """Count nothing for a while. What is counted for must never fail because of it."""
    global _ready  # noqa: PLW0603 - see ``_prepare``
    if time.monotonic() - _failed_at.get(path, -RETRY_SECONDS) >= RETRY_SECONDS:
        logger.warning("Nothing is counted for /metrics, because its folder can't be written: %s", error)
    _failed_at[path] = time.monotonic()
    _ready = None


def change(series: Series, make: Callable[[], Any], how: str, amount: float) -> None:
    """Change the value of this process; ``make`` returns the client's metric. Whatever is wrong with its file, the caller goes on."""
    try:
        with _changing:
            known = _series.get(series) or _with_labels(series, make())
            getattr(known, how)(amount)
    except FAILURES as error:
        failed(settings.OPSCONSOLE_METRICS_DIR, error)


def _with_labels(series: Series, metric: Any) -> Any:
    name, values = series
    if _sizes[name] >= MOST_SERIES:
        return metric.labels(*[OTHER] * len(values))
    _sizes[name] += 1
    _series[series] = metric.labels(*values) if values else metric
    return _series[series]


def exposition(path: Path) -> bytes:
    """Return the text for Prometheus: the files of all processes added up. Call it ``locked``."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - see ``_prepare``

    try:
        keep_ended(path)
    except OSError as error:
        logger.warning("The metrics of processes that ended can't be merged: %s", error)
    registry = CollectorRegistry()
    registry.register(_Files(path))
    return generate_latest(registry)


class _Files:
    """What prometheus_client asks for samples. A file that can't be read, such as one without contents, is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def collect(self) -> Iterator[Any]:
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - see ``_prepare``

        files = [each for kind in _KINDS for each in _current(self.path, kind) if _read(each) is not None]
        # The client has few types.
        merge: Any = MultiProcessCollector.merge
        yield from merge([str(each) for each in files], accumulate=True)


@contextmanager
def locked(path: Path, *, seconds: float | None = None) -> Iterator[None]:
    """Let one process of the host at a time read or merge the files. Raise ``Busy`` instead of waiting for long."""
    with (path / ".lock").open("a") as lock:
        until = time.monotonic() + (LOCK_SECONDS if seconds is None else seconds)
        while not _taken(lock):
            if time.monotonic() > until:
                raise Busy
            time.sleep(0.02)
        yield


def _taken(file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def keep_ended(path: Path) -> None:
    """Add the files of processes that have ended to those that are kept. A process locks its files for as long as it lives."""
    for kind in _KINDS:
        _finish(path, kind)
        with ExitStack() as stack:
            ended = [each for each in _current(path, kind) if not _is_kept(each) and _has_ended(each, stack)]
            if ended:
                _add(path, kind, ended)


def _is_kept(path: Path) -> bool:
    return path.stem.partition("_")[2].startswith(f"{KEPT}.")


def _has_ended(path: Path, stack: ExitStack) -> bool:
    return _taken(stack.enter_context(path.open("rb")))


def _current(path: Path, kind: str) -> list[Path]:
    """Return the files that count: of the kept ones the newest, and of the others those that are not in it."""
    newest, merged = _newest(path, kind)
    others = [each for each in path.glob(f"{kind}_*.db") if not _is_kept(each) and each.name not in merged]
    return sorted(others) + ([newest] if newest else [])


def _newest(path: Path, kind: str) -> tuple[Path | None, set[str]]:
    """Return the kept file that is valid, and the names of those that were added to it."""
    kept = sorted(path.glob(f"{kind}_{KEPT}.*.db"), key=_generation)
    if not kept:
        return None, set()
    merged = kept[-1].with_suffix(".json")
    return kept[-1], set(json.loads(merged.read_text())) if merged.exists() else set()


def _generation(path: Path) -> int:
    return int(path.stem.rpartition(".")[2])


def _finish(path: Path, kind: str) -> None:
    """Delete what is part of the newest kept file, also when the process that made it died in between."""
    newest, merged = _newest(path, kind)
    outdated = [each for each in path.glob(f"{kind}_{KEPT}.*.db") if each != newest]
    for each in [*(path / name for name in merged), *outdated]:
        each.unlink(missing_ok=True)
    # Last of all: until then, they say what not to count again.
    for each in [*path.glob(f"{kind}_{KEPT}.*.json"), *path.glob(f"{kind}_{KEPT}.*.new")]:
        each.unlink(missing_ok=True)


def _add(path: Path, kind: str, ended: Iterable[Path]) -> None:
    """Write the next kept file. From its renaming on it counts, instead of those that it consists of."""
    from opsconsole.kit.metric_values import write  # noqa: PLC0415 - see ``_prepare``

    newest, _ = _newest(path, kind)
    totals: dict[str, float] = defaultdict(float)
    for each in [*ended, *([newest] if newest else [])]:
        for key, value in (_read(each) or {}).items():
            totals[key] += value
    kept = path / f"{kind}_{KEPT}.{_generation(newest) + 1 if newest else 1}.db"
    write(kept.with_suffix(".new"), totals)
    kept.with_suffix(".json").write_text(json.dumps([each.name for each in ended]))
    kept.with_suffix(".new").rename(kept)
    _finish(path, kind)


def _read(path: Path) -> dict[str, float] | None:
    """Return what a file has; None if it can't be read."""
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - see ``_prepare``

    # The client has few types.
    values_of: Any = MmapedDict.read_all_values_from_file
    try:
        return {key: value for key, value, *_ in values_of(str(path))}
    except FAILURES:
        return None
