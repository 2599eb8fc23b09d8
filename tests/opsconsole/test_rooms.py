"""Tests of the package layout: each package describes its content, and the tests mirror the packages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.repository import REPOSITORY, tracked

APPS = ("alerts", "jobs", "opsconsole", "ratelimits")
WORKER = "clients/python/src/opsconsole_worker"
# Django finds these folders by name; they need no docstring.
DJANGO_FOLDERS = {"commands", "management", "migrations"}
# Modules that Django looks for in an app, and the main modules of a small app.
LOOSE = {
    "alerts": {
        *("apps", "checks", "tasks"),
        *("catalog", "notification_policy", "notifications", "notify", "open_alerts", "trouble"),
        *("channel_settings", "operator_decisions", "rules", "runbooks"),
    },
    "jobs": {"apps", "checks", "tasks"},
    "ratelimits": {"apps", "checks", "tasks"},
}
# Tests of the whole system: they start everything and belong to no package.
WHOLE = {"attach", "chaos", "clients", "deploy", "field", "journeys", "upgrade"}


def test_each_package_has_one_sentence_docstring() -> None:
    silent = [
        str(path.relative_to(REPOSITORY))
        for path in tracked(*(f"{app}/**/__init__.py" for app in (*APPS, WORKER)))
        if path.parent.name not in DJANGO_FOLDERS and not introduction(path).endswith((".", "?"))
    ]
    assert silent == []


def introduction(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


@pytest.mark.parametrize("app", LOOSE)
def test_only_listed_modules_are_outside_packages(app: str) -> None:
    modules = {path.stem for path in tracked(f"{app}/*.py") if path.parent == REPOSITORY / app}
    assert modules == LOOSE[app] | {"__init__"}


def test_each_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for app in APPS for path in tracked(f"{app}/**/*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_tests_mirror_the_packages() -> None:
    folders = {path.parent.relative_to(REPOSITORY / "tests") for path in tracked("tests/**/test_*.py")}
    strays = [
        str(folder)
        for folder in folders
        if folder.parts
        and folder.parts[0] not in WHOLE
        and not (REPOSITORY / folder / "__init__.py").exists()
    ]
    assert strays == []
