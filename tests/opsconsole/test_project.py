"""Tests of promises that concern the whole project and no single module."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command

from tests.repository import REPOSITORY, tracked

OURS = ("opsconsole", "jobs", "alerts", "ratelimits")


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_migrations_have_descriptive_names() -> None:
    names = [
        path.name for app in OURS for path in Path(apps.get_app_config(app).path, "migrations").glob("0*.py")
    ]
    assert names and not [name for name in names if "_auto_" in name]


def test_every_requirement_is_pinned() -> None:
    for file in REPOSITORY.glob("requirements*.txt"):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith(("#", "-r "))]
        assert lines and all(re.fullmatch(r"[A-Za-z0-9_.\[\]-]+==[0-9][\w.]*", line) for line in lines), file


def test_documentation_links_resolve() -> None:
    broken = [
        f"{page.relative_to(REPOSITORY)}: {target}"
        for page in tracked("*.md")
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_python_in_the_documentation_imports_what_exists() -> None:
    imports = [
        (page.name, node)
        for page in tracked("*.md")
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").partition(".")[0] in {*OURS, "opsconsole_worker"}
    ]
    assert imports
    for page, node in imports:
        statement = ast.unparse(node)
        try:
            exec(statement, {})
        except ImportError as error:
            pytest.fail(f"{page}: {statement}: {error}")


def test_layers_contract_names_every_module_of_the_shell() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    folder = REPOSITORY / "opsconsole"
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert set(layers[0].split(" : ")) == {f"opsconsole.{name}" for name in modules - {"__init__", "kit"}}


def test_every_ignored_type_error_says_why() -> None:
    silent = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for path in tracked("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"# type: ignore(\[[\w-]+\])?\s*$", line)
    ]
    assert silent == []


def test_no_test_sleeps() -> None:
    # Only test modules are checked: other modules simulate workers and networks, which take time.
    sleeping = [
        str(path.relative_to(REPOSITORY))
        for path in tracked("tests/**/test_*.py")
        if re.search(r"^\s*time\.sleep\(|^from time import .*\bsleep", path.read_text(), re.MULTILINE)
    ]
    assert sleeping == []
