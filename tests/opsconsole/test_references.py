"""Tests of references in code and documentation: named modules, functions, files and folders exist."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

from django.apps import apps
from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from tests.repository import REPOSITORY, tracked

PACKAGES = ("opsconsole", "opsconsole_worker", "jobs", "alerts", "ratelimits")
ROOTS = "|".join((*PACKAGES, "tests", "bench"))
FOLDERS = f"{ROOTS}|templates|deploy|docs"
# Any Django app may have these.
STANDARD_ROOMS = {"admin", "api", "management", "migrations", "models"}
TEXTS = ("*.py", "*.md", "*.toml", "*.yaml", "*.html", "*.js", "*.css", "*.service", "*.tf", "Makefile")
# Files written during deployment.
NOT_TRACKED = {"deploy/.env"}


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and text of each tracked file of these kinds."""
    for path in tracked(*TEXTS):
        yield str(path.relative_to(REPOSITORY)), path.read_text(encoding="utf-8")


def test_named_modules_and_members_exist() -> None:
    named = {
        (file, name)
        for file, text in texts()
        for name in re.findall(rf"`((?:{ROOTS})(?:\.\w+)+)(?:\(\))?`", text)
    }
    assert {name for _, name in named} & {"opsconsole.paths", "opsconsole.checks"}
    assert sorted(f"{file}: {name}" for file, name in named if not exists(name)) == []


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, a member of one, a table or its column, or a system check ID."""
    table, _, column = name.partition(".")
    # The console's tables are in the schema of its name.
    if table == "opsconsole" and columns_of(column):
        return True
    if column in columns_of(table) or (re.fullmatch(r"\w+\.[EW]\d{3}", name) and name in check_ids()):
        return True
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def columns_of(table: str) -> set[str]:
    models = [model for model in apps.get_models() if model._meta.db_table == table]
    return {str(field.column) for model in models for field in model._meta.local_concrete_fields}


def check_ids() -> set[str]:
    return {
        found
        for path in tracked("*.py")
        for found in re.findall(r"\"(\w+\.[EW]\d{3})\"", path.read_text(encoding="utf-8"))
    }


def test_named_files_and_folders_exist() -> None:
    named = {
        (file, name)
        for file, text in texts()
        for name in [
            *re.findall(rf"`((?:{FOLDERS})/[\w/.-]+)`", text),
            *re.findall(r"(?<![\w/-])docs/[\w/-]+(?:\.\w+)?", text),
        ]
    }
    missing = {
        f"{file}: {name}"
        for file, name in named
        if name not in NOT_TRACKED and not (REPOSITORY / name).exists()
    }
    assert sorted(missing) == []


def test_modules_named_by_package_docstrings_exist() -> None:
    """Check the plain names of modules and members in package docstrings."""
    missing: list[str] = []
    for path in tracked(*(f"{package}/**/__init__.py" for package in PACKAGES)):
        package = importlib.import_module(".".join(path.relative_to(REPOSITORY).parent.parts))
        words = re.findall(r"``(\w+)``", package.__doc__ or "")
        there = vars(package).keys() | {module.name for module in pkgutil.iter_modules(package.__path__)}
        missing += [f"{package.__name__}: {word}" for word in words if word not in there]
    assert missing == []


def test_files_of_the_usual_changes() -> None:
    """Check that each row of CONTRIBUTING.md names where a change begins."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tasks = re.findall(r"^\| ([A-Z][^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(tasks) >= 10
    for task, change, tests in tasks:
        paths = re.findall(r"`([\w./-]+/[\w./-]*)`", change)
        assert paths, task
        assert [
            path for path in [*paths, *re.findall(r"`([^`]+)`", tests)] if not (REPOSITORY / path).exists()
        ] == [], task


def test_files_that_newcomers_find_by_name() -> None:
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tasks = re.findall(r"^\| ((?:change|add) [^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(tasks) == 10
    paths = [path for _, files in tasks for path in re.findall(r"`([^`]+)`", files)]
    assert [path for path in paths if not (REPOSITORY / path).is_file()] == []


def test_architecture_document_names_each_package() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        f"{path.parent.relative_to(REPOSITORY)}/"
        for package in ("jobs", "alerts", "ratelimits")
        for path in tracked(f"{package}/*/__init__.py")
        if path.parent.parent.name == package and path.parent.name not in STANDARD_ROOMS
    }
    assert {room for room in rooms if f"`{room}`" not in page} == set()


def test_templates() -> None:
    named = {
        (str(path.relative_to(REPOSITORY)), name)
        for path in tracked("opsconsole/*.py", "jobs/*.py", "alerts/*.py", "ratelimits/*.py", "templates/*")
        for name in re.findall(r"[\"']([\w/]+\.html)[\"']", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    assert [f"{file}: {name}" for file, name in sorted(named) if not has_template(name)] == []


def has_template(name: str) -> bool:
    try:
        get_template(name)
    except TemplateDoesNotExist:
        return False
    return True


def test_every_security_promise_names_its_test() -> None:
    """Check that each row of a table of promises in docs/security.md names test files that exist."""
    page = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| promise \| how \| test \|\n\|[-|]+\|\n((?:\|.*\n?)+)", page, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) >= 20
    for row in rows:
        promise, how, test = (cell.strip() for cell in row.strip("|").split("|"))
        files = re.findall(r"`(tests/[\w/]+\.py)`", test)
        assert promise, row
        assert how, row
        assert files, f"no test: {row}"
        assert [file for file in files if not (REPOSITORY / file).is_file()] == [], row
