"""Runs a command with what a unit of systemd takes away, without systemd: ``python -m tests.deploy.sandbox UNIT COMMAND...``.

It loads the unit's filter of system calls, forbids memory that is both writable and executable, and drops
capabilities. The other directives (name spaces of files and devices) need systemd itself, and are not imitated.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import subprocess
import sys
from pathlib import Path

from tests.deploy.recipes import directives

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65
# Root keeps these two: the sockets and folders of the tests belong to other users.
FILES_OF_OTHERS = {1, 2}
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
UNKNOWN = -1


def sets_of_calls() -> dict[str, list[str]]:
    """Return systemd's named sets of system calls; a set may name others."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
    )
    sets: dict[str, list[str]] = {}
    members: list[str] = []
    for line in listed.stdout.splitlines():
        if line.startswith("@"):
            members = sets.setdefault(line.strip(), [])
        elif line.startswith(" ") and not line.strip().startswith("#"):
            members.append(line.strip())
        elif line.startswith("#"):
            members = []
    return sets


def allowed(unit: Path) -> set[str]:
    """Return the system calls that the unit allows: the first line allows, those with ~ take away."""
    sets = sets_of_calls()

    def calls(name: str) -> set[str]:
        return set().union(*map(calls, sets[name])) if name.startswith("@") else {name}

    found: set[str] = set()
    for line in directives(unit, "SystemCallFilter"):
        named = set().union(*map(calls, line.removeprefix("~").split()))
        found = found - named if line.startswith("~") else found | named
    return found | calls("@default")


def main(unit: Path, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    seccomp.seccomp_init.restype = ctypes.c_void_p
    # A pointer, which would be cut to 32 bits as a plain number.
    rules = ctypes.c_void_p(seccomp.seccomp_init(REFUSE))
    for name in sorted(allowed(unit)):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number != UNKNOWN:
            assert seccomp.seccomp_rule_add_array(rules, ctypes.c_uint32(ALLOW), number, 0, None) == 0, name
    if directives(unit, "CapabilityBoundingSet") == [""] and os.geteuid() == 0:
        for capability in set(range(64)) - FILES_OF_OTHERS:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if directives(unit, "MemoryDenyWriteExecute") == ["true"]:
        # Kernels before 6.3 don't know it.
        libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)
    assert seccomp.seccomp_load(rules) == 0
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
