"""The policies in force: read once, and again within a second of an edit. A request never queries for them.

Each process asks the database at most once a second for the version that triggers raise with each edit. The
process's keeper (``ratelimits.records.background_thread``) does it; where none runs, the request that comes next.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field, replace

from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, InterfaceError

from opsconsole.kit.errors import OpsConsoleError
from ratelimits.models import LimiterControl, Policy
from ratelimits.policies import policy_snapshot
from ratelimits.policies.policy_snapshot import ENFORCE, PRESETS, Terms

log = logging.getLogger(__name__)

ASK_EVERY_SECONDS = 1.0
ASK_AGAIN_AFTER_ERROR_SECONDS = 5.0


class UnknownPolicy(OpsConsoleError):
    """There is no policy 'fast'. Policies: api-key, relaxed, standard, strict."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All policies as of ``version``; ``mode`` is the global switch, already part of each policy's terms."""

    version: tuple[int, str] | None
    mode: str
    by_name: dict[str, Terms]
    # Those that apply by path, in their order.
    by_path: tuple[Terms, ...] = field(default=())

    def get(self, name: str) -> Terms:
        """Raises ``UnknownPolicy``."""
        try:
            return self.by_name[name]
        except KeyError:
            raise UnknownPolicy(
                f"There is no policy {name!r}. Policies: {', '.join(sorted(self.by_name))}."
            ) from None


class _State:
    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.ask_at = 0.0
        self.asking = threading.Lock()


_state = _State()


def forget() -> None:
    """Read everything anew at the next request."""
    _state.__init__()  # type: ignore[misc]


def assume_built_in() -> None:
    """Go by the presets as built in, whatever the database says, until ``forget``."""
    _state.snapshot, _state.ask_at = _BUILT_IN, float("inf")


# A lock that another thread held when the process was copied would never be released.
os.register_at_fork(after_in_child=forget)


def current() -> Snapshot:
    """The policies in force, at most about a second old; when the database is away, as last read."""
    snapshot = _state.snapshot
    if snapshot is None or time.monotonic() >= _state.ask_at:
        refresh(wait=snapshot is None)
    return _state.snapshot or _BUILT_IN


def refresh(*, wait: bool = False) -> None:
    """Ask whether something was edited. One thread asks; others go on with what is known unless they ``wait``."""
    if not _state.asking.acquire(blocking=wait):
        return
    try:
        if wait and _state.snapshot is not None:
            return
        _state.ask_at = time.monotonic() + ASK_EVERY_SECONDS
        _state.snapshot = _read(_state.snapshot)
    except (DatabaseError, InterfaceError, SynchronousOnlyOperation) as error:
        _state.ask_at = time.monotonic() + ASK_AGAIN_AFTER_ERROR_SECONDS
        known = "as last read" if _state.snapshot else "as built in"
        log.warning("The rate limit policies can't be read, they hold %s: %s", known, error)
    finally:
        _state.asking.release()


def _read(known: Snapshot | None) -> Snapshot:
    # The version first: an edit that commits in between is read twice rather than never.
    row = LimiterControl.objects.values_list("version", "salt", "mode").first()
    version, mode = ((row[0], row[1]), row[2]) if row else (None, ENFORCE)
    if known and version is not None and known.version == version:
        return known
    found = {policy.name: policy_snapshot.of(policy, mode) for policy in Policy.objects.all()}
    if known:
        # The same objects where nothing changed: what is remembered about them (blocked clients) stays.
        found = {name: _same(known.by_name.get(name), new) for name, new in found.items()}
    return _snapshot(version, mode, found)


def _same(old: Terms | None, new: Terms) -> Terms:
    return old if old == new else new


def _snapshot(version: tuple[int, str] | None, mode: str, found: dict[str, Terms]) -> Snapshot:
    missing = {
        name: replace(preset, mode=mode) if mode != ENFORCE else preset
        for name, preset in PRESETS.items()
        if name not in found
    }
    by_path = sorted(
        (each for each in found.values() if each.prefixes and each.mode != policy_snapshot.OFF),
        key=lambda each: (each.position, each.name),
    )
    return Snapshot(version=version, mode=mode, by_name=missing | found, by_path=tuple(by_path))


_BUILT_IN = _snapshot(None, ENFORCE, {})
