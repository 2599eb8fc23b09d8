"""Every command of the console: its help, its exit codes, and its page in docs/commands.md."""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from opsconsole.kit.commands import ConsoleCommand
from tests.repository import REPOSITORY

PAGE = REPOSITORY / "docs" / "commands.md"
# Django's own under the same name, with a check or a line of the audit more; and the names of django-q2's that are refused.
OF_OTHERS = {
    "changepassword",
    "check",
    "createsuperuser",
    "migrate",
    "qcluster",
    "qinfo",
    "qmemory",
    "qmonitor",
}
# They run until they are stopped, or ask a person.
WITHOUT_JSON = {"run_worker", "run_cluster", "uninstall"}


def _of_the_console() -> dict[str, BaseCommand]:
    found = {name: load_command_class(app, name) for name, app in get_commands().items()}
    return {
        name: command
        for name, command in sorted(found.items())
        if Path(inspect.getfile(type(command))).is_relative_to(REPOSITORY)
        and ".venv" not in inspect.getfile(type(command))
    }


OURS = {
    name: command for name, command in _of_the_console().items() if name not in OF_OTHERS | {"demo_story"}
}


def _parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return the parsers of the actions, or the parser itself where there are none."""
    actions = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return [choice for action in actions for choice in action.choices.values()] or [parser]


@pytest.mark.parametrize("name", OURS)
def test_help_has_examples_that_parse_and_exit_codes(name: str) -> None:
    command = OURS[name]
    assert isinstance(command, ConsoleCommand)
    parser = command.create_parser("manage.py", name)
    told = parser.format_help()
    assert "exit codes:\n  0  " in told
    assert command.examples
    for example in command.examples:
        assert f"  manage.py {example}" in told
        words = _words(example)
        assert words[0] == name
        parser.parse_args(words[1:])


def _words(example: str) -> list[str]:
    words = shlex.split(example)
    return words[: words.index(">")] if ">" in words else words


@pytest.mark.parametrize("name", sorted(OURS.keys() - WITHOUT_JSON))
def test_every_answer_can_be_json(name: str) -> None:
    for parser in _parsers(OURS[name].create_parser("manage.py", name)):
        assert "--json" in parser._option_string_actions, parser.prog


def test_page_lists_every_command_with_its_exit_codes() -> None:
    page = PAGE.read_text()
    listed = re.findall(r"^### `(\w+)`\n\n(.*?)(?=^###|\Z)", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in listed] == list(OURS)
    for name, text in listed:
        command = OURS[name]
        assert isinstance(command, ConsoleCommand)
        codes = dict(re.findall(r"^- (\d): (.+)$", text, re.MULTILINE))
        assert {int(code): meaning for code, meaning in codes.items()} == dict(command.exit_codes), name
        for example in command.examples:
            assert f"manage.py {example}" in text
