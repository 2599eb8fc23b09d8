"""Arguments of commands: texts that are texts, whole numbers within bounds, and the refusal of what fits no command or no other."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from opsconsole.kit import reasons
from opsconsole.kit.exit_codes import COULD_NOT, WRONG_ARGUMENTS
from opsconsole.kit.storable import LARGEST_INTEGER, is_storable

MOST_ROWS = 1_000_000


def wrong(sentence: str) -> CommandError:
    """Return the refusal of arguments that are wrong whatever the state of the console is. The exit code is 2."""
    return CommandError(f"{sentence} Nothing was done.", returncode=WRONG_ARGUMENTS)


def could_not(sentence: str) -> CommandError:
    """Return the end of a command that could not find out what it was asked, or not do it: neither a finding nor a refusal."""
    return CommandError(sentence, returncode=COULD_NOT)


def refuse_ignored(options: Mapping[str, Any], names: Iterable[str], because: str) -> None:
    """Refuse options that were given and would be ignored: whoever gives one believes that it has an effect.

    ``because`` ends the sentence: "with --resume", "without --loop".
    """
    given = [f"--{name.replace('_', '-')}" for name in names if options[name] not in (None, False, [])]
    if given:
        raise wrong(f"{' and '.join(given)} {'have' if len(given) > 1 else 'has'} no effect {because}.")


def required_reason(reason: str | None, kept: str = reasons.WITH_THE_CHANGE) -> str:
    """Return the reason as it is stored. Refuse one without visible text before anything is asked or done."""
    return reasons.required(reason, wrong, kept, name="--reason")


def whole_number(least: int = 1, most: int = MOST_ROWS) -> Callable[[str], int]:
    """Return what reads a whole number within these bounds, as the type of an argument."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ArgumentTypeError(f"give a whole number from {least:,} to {most:,}")
        return number

    return read


row_number = whole_number(most=LARGEST_INTEGER)


def refuse_odd_texts(parser: argparse.ArgumentParser) -> None:
    """Let the arguments of a parser refuse what is no text, and an empty text where one must say something.

    An empty one comes from a shell whose variable is not set. Taken for an argument that was left out, it would widen what the
    command does: every alert, every channel, a key without an end.
    """
    for action in parser._actions:  # noqa: SLF001 - argparse tells of them in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for inner in action.choices.values():
                refuse_odd_texts(inner)
        elif action.nargs != 0 and action.type in {None, str}:
            action.type = _text if action.default == "" else _some_text
        elif action.type is Path:
            action.type = _path


def _text(text: str) -> str:
    if not is_storable(text):
        raise ArgumentTypeError("it is not text in UTF-8")
    return text


def _some_text(text: str) -> str:
    if not text:
        raise ArgumentTypeError("it is empty")
    return _text(text)


def _path(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("it is empty")
    return Path(text)
