"""What management commands share: help, arguments, exit codes and JSON."""

from __future__ import annotations

import getpass
import json
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ClassVar, TextIO

from django.core.management.base import (
    BaseCommand,
    CommandParser,
    DjangoHelpFormatter,
    OutputWrapper,
    SystemCheckError,
)
from django.utils import timezone

from opsconsole.kit import answer_limit
from opsconsole.kit.characters import made_visible
from opsconsole.kit.command_arguments import refuse_odd_texts, wrong
from opsconsole.kit.exit_codes import COULD_NOT, WRONG_ARGUMENTS

# For commands some of whose statements look through a whole table.
LONG_STATEMENT_SECONDS = 900.0
LONGEST_INTERVAL_SECONDS = 7 * 24 * 3_600
# What each code means unless a command says more. A script may rely on them (docs/commands.md).
EXIT_CODES: Mapping[int, str] = {
    0: "done, or there was nothing to do",
    1: "refused or failed; a sentence on standard error says why",
    WRONG_ARGUMENTS: "the arguments are wrong",
    COULD_NOT: "it could not be found out or done: the database, the settings or the output failed; a sentence says why",
}


class _HelpFormatter(DjangoHelpFormatter):
    """Django's, but a text of several lines keeps its lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(f"{indent}{line}\n" for line in text.splitlines())
        return super()._fill_text(text, width, indent)


class VisibleOutput(OutputWrapper):
    """Output that shows what nobody sees: customers and strangers name what commands list."""

    def write(self, msg: str = "", *style_and_ending: Any, **more: Any) -> None:  # type: ignore[override]  # as Django's
        super().write(made_visible(msg), *style_and_ending, **more)


# Checks of settings, which differ from one installation to the next. ``manage.py check`` also checks what is the same everywhere:
# models, templates and pages. Reading all of them takes longer than most commands do.
CHECKS_OF_SETTINGS: tuple[str, ...] = (
    "opsconsole",
    "sessions",
    "caches",
    "compatibility",
    "database",
    "files",
    "security",
)


class ConsoleCommand(BaseCommand):
    """A command of the console: its help ends with examples and with the exit codes that a script can rely on."""

    requires_system_checks = CHECKS_OF_SETTINGS
    # Without the program before them: 'pause recovery --minutes 20 --reason "deploy 1.4"'.
    examples: ClassVar[tuple[str, ...]] = ()
    # Where a code means more than it says in ``EXIT_CODES``.
    exit_codes: ClassVar[Mapping[int, str]] = {}
    # How long the command waits for one answer of the database; None: for as long as it takes.
    patience_seconds: ClassVar[float | None] = 120.0

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None, **options: bool) -> None:
        super().__init__(stdout, stderr, **options)
        style = self.stderr.style_func
        self.stdout, self.stderr = VisibleOutput(stdout or sys.stdout), VisibleOutput(stderr or sys.stderr)
        self.stderr.style_func = style

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("formatter_class", _HelpFormatter)
        kwargs.setdefault("epilog", self._epilog(prog_name))
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        refuse_odd_texts(parser)
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        if self.patience_seconds:
            answer_limit.limit_answers(
                self.patience_seconds, partial(self._tell_that_nobody_answers, "The database")
            )
        super().run_from_argv(argv)

    def _tell_that_nobody_answers(self, what: str, most: float) -> None:
        waited = f"{what} has not answered for {answer_limit.TELL_AFTER_SECONDS:.0f} s."
        with suppress(OSError):
            self.stderr.write(f"{waited} It is waited for up to {most:.0f} s.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        for name in {"stdout", "stderr"} & options.keys():
            options[name] = options[name] and VisibleOutput(options[name])
        return super().execute(*args, **options)

    def check(self, *args: Any, **options: Any) -> None:
        """Check the settings. That they are wrong answers nothing that a command is asked."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = COULD_NOT
            raise

    @classmethod
    def all_exit_codes(cls) -> dict[int, str]:
        """Return the meaning of each exit code, in their order."""
        return dict(sorted({**EXIT_CODES, **cls.exit_codes}.items()))

    def _epilog(self, program: str) -> str:
        lines = (
            ["examples:", *(f"  {program} {example}" for example in self.examples)] if self.examples else []
        )
        return "\n".join(
            [*lines, "exit codes:", *(f"  {code}  {text}" for code, text in self.all_exit_codes().items())]
        )

    @contextmanager
    def tell_of_wait_for(self, what: str, most: float) -> Iterator[None]:
        """Say so where something else than the database does not answer for long."""
        tell = partial(self._tell_that_nobody_answers, what, most)
        timer = threading.Timer(answer_limit.TELL_AFTER_SECONDS, tell)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def tell(self, answer: object, lines: Iterable[str], *, as_json: bool) -> None:
        """Print the answer as JSON, or as lines for people."""
        self.stdout.write(json.dumps(answer, indent=2, default=str) if as_json else "\n".join(lines))


class Progress:
    """A line on a terminal that is written anew as work goes on. Nothing is written to a file or a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None

    def show(self, sentence: str) -> None:
        """Replace the line."""
        self._write(f"\r\x1b[K{sentence}")

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def add_json(parser: ArgumentParser) -> None:
    """Add the option for programs that read the answer."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def refuse_json_in_loop(*, as_json: bool, loop: bool) -> None:
    """Raise ``CommandError`` where both were asked for: a loop prints lines as it goes on."""
    if as_json and loop:
        raise wrong("--json can't be combined with --loop.")


def refuse_odd_interval(seconds: float) -> None:
    """Raise ``CommandError`` for what no loop can wait for, such as nan."""
    if not 0 < seconds <= LONGEST_INTERVAL_SECONDS:
        raise wrong(
            f"--interval must be more than 0 seconds, and at most {LONGEST_INTERVAL_SECONDS} (a week)."
        )


def add_operator(parser: ArgumentParser) -> None:
    """Add the option that names the person for the audit."""
    parser.add_argument(
        "--as",
        dest="operator",
        default=getpass.getuser(),
        help="the operator to record (default: your system user)",
    )


def add_dry_run(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be done and change nothing")


def say(command: BaseCommand, sentence: str) -> None:
    """Print a line with the time, at once: others read along."""
    command.stdout.write(f"{timezone.now():%H:%M:%S} {sentence.strip()}")
    command.stdout.flush()
