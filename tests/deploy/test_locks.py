"""Tests of the lock files: they have a hash for every package that is installed, and fit the lists that people edit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repository import REPOSITORY

LISTS = (
    "requirements",
    "requirements-traces",
    "requirements-build",
    "requirements-dev",
    "requirements-bench",
    "requirements-supply",
)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def listed(name: str) -> Iterator[Requirement]:
    """Yield what a list names, and what the lists name that it includes."""
    for line in (REPOSITORY / name).read_text().splitlines():
        if line.startswith("-r "):
            yield from listed(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            yield Requirement(line)


def locked(name: str) -> dict[str, list[Requirement]]:
    """Return the entries of a lock by name; a package may have one entry per marker. Check that each has hashes."""
    text = (REPOSITORY / f"{name}.lock").read_text().replace("\\\n", " ")
    entries: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        pin, *hashes = re.split(r"\s+(?=--hash)", line.strip())
        requirement = Requirement(pin)
        assert [each.operator for each in requirement.specifier] == ["=="], line[:80]
        assert hashes, pin
        assert all(HASH.fullmatch(each) for each in hashes), pin
        entries.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return entries


@pytest.mark.parametrize("name", LISTS)
def test_lock_has_what_the_list_names(name: str) -> None:
    lock = locked(name)
    for requirement in listed(f"{name}.txt"):
        pins = {str(pin.specifier) for pin in lock.get(canonicalize_name(requirement.name), [])}
        assert pins == {str(requirement.specifier)}, f"{requirement}: run make lock"


@pytest.mark.parametrize("name", LISTS)
def test_lock_names_no_index(name: str) -> None:
    text = (REPOSITORY / f"{name}.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_same_versions_are_tested_and_deployed() -> None:
    tested = locked("requirements-dev")
    deployed = locked("requirements")
    with_traces = locked("requirements-traces")
    assert {name: tested.get(name) for name in with_traces} == with_traces
    assert {name: with_traces.get(name) for name in deployed} == deployed


@pytest.mark.parametrize(
    "name", ["requirements", "requirements-traces", "requirements-build", "requirements-dev"]
)
def test_lock_has_every_indirect_dependency(name: str) -> None:
    """Follow the dependencies that the installed packages name: the lock has each, in a version that fits."""
    lock = locked(name)
    asked, seen = [(requirement, "") for requirement in listed(f"{name}.txt")], set()
    while asked:
        requirement, by = asked.pop()
        package = canonicalize_name(requirement.name)
        pins = [pin for pin in lock.get(package, []) if pin.marker is None or pin.marker.evaluate()]
        assert len(pins) == 1, f"{requirement} of {by}: run make lock"
        version = next(iter(pins[0].specifier)).version
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement} of {by}, not {version}"
        )
        if (package, frozenset(requirement.extras)) not in seen:
            seen.add((package, frozenset(requirement.extras)))
            asked += [(each, package) for each in _named_by(package, requirement.extras)]
    assert len(seen) > (5 if name in {"requirements-traces", "requirements-build"} else 40)


def _named_by(package: str, extras: set[str]) -> Iterator[Requirement]:
    for line in metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield requirement


def test_everything_is_installed_from_locks() -> None:
    for file in ("Makefile", "deploy/Dockerfile", "README.md"):
        installs = re.findall(r"pip install [^\n]*-r [^\n]*", (REPOSITORY / file).read_text())
        assert installs, file
        for line in installs:
            # The next versions of Python and Django are tried with whatever fits them.
            assert "--require-hashes" in line or ".venv-next" in line or "$(NEXT_DJANGO)" in line, line


def test_audit_of_packages_fails_where_it_can_not_ask() -> None:
    """Without --strict, pip-audit skips what it can't look up, says "No known vulnerabilities found" and ends with 0."""
    [line] = re.findall(r"^\t.*pip-audit .*$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert {"--strict", "--require-hashes", "--disable-pip"} <= set(line.split())


def test_environment_that_is_a_link_is_updated_through_it(tmp_path: Path) -> None:
    """Python makes no environment through a link; pip installs into what it leads to."""
    shared = tmp_path / "shared"
    (shared / "bin").mkdir(parents=True)
    pip = shared / "bin" / "pip"
    pip.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/asked"\n')
    pip.chmod(0o755)
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / ".venv").symlink_to(shared)
    (clone / "requirements-dev.lock").touch()
    shutil.copy(REPOSITORY / "Makefile", clone)

    made = subprocess.run(
        ["make", ".venv/installed", f"PYTHON={sys.executable}", "NEXT_PYTHON="],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )

    assert made.returncode == 0, made.stderr
    assert "-r requirements-dev.lock" in (shared / "bin" / "asked").read_text()
    assert (shared / "installed").exists()
