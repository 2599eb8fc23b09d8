"""The policies in use by this process. They are read again within a second of an edit.

Triggers raise a version number with each edit, and each process asks for it at most once per second. The process's
background thread (``ratelimits.records.background_thread``) asks while requests come, so that none waits for it; the first
request after a quiet time asks by itself, as does every one where the thread does not run.
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
from ratelimits.policies.policy_snapshot import ENFORCE, PRESETS, PolicySnapshot

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
CHECK_AFTER_ERROR_SECONDS = 5.0
# A process that nobody has asked for this long needs no policies.
QUIET_SECONDS = 10.0


class UnknownPolicy(OpsConsoleError):
    """There is no policy with the given name. The message lists the names of all policies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicySet:
    """All policies as of ``version``. ``mode`` is the global mode, which the policies' own modes already include."""

    version: tuple[int, str, int] | None
    mode: str
    by_name: dict[str, PolicySnapshot]
    # The policies that cover requests by path, in order of their positions.
    by_path: tuple[PolicySnapshot, ...] = field(default=())

    def get(self, name: str) -> PolicySnapshot:
        """Return the policy with this name, or raise ``UnknownPolicy``."""
        try:
            return self.by_name[name]
        except KeyError:
            raise UnknownPolicy(
                f"There is no policy {name!r}. Policies: {', '.join(sorted(self.by_name))}."
            ) from None


class _State:
    def __init__(self) -> None:
        self.checking = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.policies: PolicySet | None = None
        self.check_at = 0.0
        self.asked_at = 0.0


_state = _State()


def clear() -> None:
    """Make the next request read all policies again."""
    # The lock stays: a thread that reads at this moment gives back the one that it took.
    _state.clear()


def _after_fork() -> None:
    # A lock held by another thread at the time of the fork would never be released in the child.
    _state.checking = threading.Lock()
    clear()


os.register_at_fork(after_in_child=_after_fork)


def current() -> PolicySet:
    """Return the policies in use. They are about a second old at most, or older if the database is unavailable."""
    policies, now = _state.policies, time.monotonic()
    _state.asked_at = now
    if policies is None or now >= _state.check_at:
        refresh(wait=policies is None)
    # Another thread may have cleared them since.
    return _state.policies or policies or _BUILT_IN


def are_read() -> bool:
    """Tell whether ``current`` asks the database nothing now."""
    return _state.policies is not None and time.monotonic() < _state.check_at


def refresh_while_in_use() -> None:
    """Read the policies again if they were edited, unless no request has needed them for a while."""
    if time.monotonic() - _state.asked_at < QUIET_SECONDS:
        refresh()


def refresh(*, wait: bool = False) -> None:
    """Read the policies again if they were edited.

    Only one thread does so at a time. The others keep using the policies that they have, unless they ``wait``.
    """
    if not _state.checking.acquire(blocking=wait):
        return
    try:
        # Where the policies were cleared while another thread read them, it may have read what was before the edit.
        if wait and _state.policies is not None and time.monotonic() < _state.check_at:
            return
        _state.check_at = time.monotonic() + CHECK_SECONDS
        _state.policies = _read(_state.policies)
    except (DatabaseError, InterfaceError, SynchronousOnlyOperation) as error:
        _state.check_at = time.monotonic() + CHECK_AFTER_ERROR_SECONDS
        fallback = "policies as last read" if _state.policies else "built-in presets"
        log.warning("The rate limit policies could not be read. Using the %s: %s", fallback, error)
    finally:
        _state.checking.release()


def _read(cached: PolicySet | None) -> PolicySet:
    # Read the version first: an edit committed in between is then read twice rather than missed.
    row = LimiterControl.objects.values_list("version", "salt", "freed", "mode").first()
    version, mode = (row[:3], row[3]) if row else (None, ENFORCE)
    if cached and version is not None and cached.version == version:
        return cached
    snapshots = {policy.name: policy_snapshot.snapshot_of(policy, mode) for policy in Policy.objects.all()}
    freed = cached and cached.version and version and cached.version[2] != version[2]
    if cached and not freed:
        # Keep the same object for an unchanged policy, so that its blocked clients stay valid. After a client was freed,
        # each blocked client asks the store once more.
        snapshots = {name: _keep_if_equal(cached.by_name.get(name), new) for name, new in snapshots.items()}
    return _policy_set(version, mode, snapshots)


def _keep_if_equal(old: PolicySnapshot | None, new: PolicySnapshot) -> PolicySnapshot:
    return old if old == new else new


def _policy_set(
    version: tuple[int, str, int] | None, mode: str, snapshots: dict[str, PolicySnapshot]
) -> PolicySet:
    missing_presets = {
        name: replace(preset, mode=mode) if mode != ENFORCE else preset
        for name, preset in PRESETS.items()
        if name not in snapshots
    }
    by_path = sorted(
        (policy for policy in snapshots.values() if policy.prefixes and policy.mode != policy_snapshot.OFF),
        key=lambda policy: (policy.position, policy.name),
    )
    return PolicySet(version=version, mode=mode, by_name=missing_presets | snapshots, by_path=tuple(by_path))


_BUILT_IN = _policy_set(None, ENFORCE, {})
