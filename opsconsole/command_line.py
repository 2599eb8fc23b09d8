"""The console's command line: ``opsconsole`` where the wheel is installed, ``manage.py`` in a checkout."""

from __future__ import annotations

import gc
import io
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from opsconsole import __version__
from opsconsole.kit.errors import first_line
from opsconsole.kit.exit_codes import COULD_NOT, FOUND_OR_REFUSED, WRONG_ARGUMENTS
from opsconsole_worker import tracebacks

_OF_DJANGO = ("core", "management", "base.py")
_COLLECTS = "collectstatic"


def main() -> None:
    """Run the command that the arguments name; end the process with its exit code when it fails."""
    tracebacks.hide_secrets()
    try:
        _run_and_write()
    except Exception:  # noqa: BLE001 - whatever the error is, it is told with its traceback, and is no finding
        sys.excepthook(*sys.exc_info())
        sys.exit(COULD_NOT)


def _run_and_write() -> None:
    _prepare_output()
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not _drop_output_of(error):
            raise
        _end(
            f"The answer could not be written whole: {error.strerror}. Look at what the command did before you repeat it."
        )


def _end(sentence: str, code: int = COULD_NOT) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(code)


def _prepare_output() -> None:
    """Let no character that the terminal lacks, and no closed output, end a command after it has changed something."""
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w"), encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output_of(error: OSError) -> bool:
    """Tell whether standard output took nothing more, as after ``| head``. What could not be written is dropped then."""
    if not _is_of_output(error):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _is_of_output(error: OSError) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    # Of Django's wrapper of the output, and of the last flush.
    return Path(frame.f_code.co_filename).parts[-3:] in {_OF_DJANGO, Path(__file__).parts[-3:]}


def _run() -> None:
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["version"]):
        # Django would tell its own version, and only after it has read the settings.
        sys.stdout.write(f"opsconsole {__version__}\n")
    elif arguments == ["demo"]:
        _run_demo()
    else:
        _run_django()


def _run_demo() -> None:
    # The demo starts the services that the settings name, so it can't begin by reading them.
    try:
        from opsconsole.demo.main import main as run_demo  # noqa: PLC0415 - the embedded services are an extra
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"The demo needs the embedded services, and {error.name} is not installed. "
            "Install opsconsole[embedded] (in a checkout: requirements-dev.txt).\n"
        )
        sys.exit(WRONG_ARGUMENTS)
    sys.exit(run_demo())


def _read_code() -> None:
    """Read the code that every command needs, without looking for garbage in it: it stays until the process ends."""
    import django  # noqa: PLC0415 - the version is told without Django
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415

    gc.disable()
    # Django repeats the refusal where the command needs the settings.
    with suppress(ImproperlyConfigured):
        django.setup()
    gc.freeze()
    gc.enable()


def _unwritable_folder(error: OSError) -> str:
    from django.conf import settings  # noqa: PLC0415 - the version is told without Django

    where = f" ({error.filename})" if error.filename else ""
    return (
        f"The static files can't be written to {settings.STATIC_ROOT}: {error.strerror}{where}. Some may have been. Let the user that "
        "runs this write there, or choose another folder with OPSCONSOLE_VAR_DIR; then run it again."
    )


def _run_django() -> None:
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415 - the version is told without Django
    from django.core.management import execute_from_command_line  # noqa: PLC0415
    from django.db import Error, OperationalError  # noqa: PLC0415

    from opsconsole.kit import kept_changes  # noqa: PLC0415 - imports Django
    from opsconsole_worker import refusals  # noqa: PLC0415 - imports Django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsconsole.settings")
    try:
        _read_code()
        execute_from_command_line(sys.argv)
        from opsconsole import foreign_commands  # noqa: PLC0415 - only the command has read the settings

        foreign_commands.note(sys.argv[1:])
    except ImproperlyConfigured as error:
        # The sentence names the setting; a traceback would hide it.
        _end(str(error))
    except OSError as error:
        if sys.argv[1:2] != [_COLLECTS] or _is_of_output(error):
            raise
        _end(_unwritable_folder(error))
    except (Error, TypeError, ValueError, AttributeError) as error:
        from opsconsole.kit.database_troubles import Trouble, headline, trouble_behind  # noqa: PLC0415

        trouble = trouble_behind(error)
        if trouble is not Trouble.TABLES_CHANGED and (refusal := refusals.of(error)):
            _end(f"{refusal.sentence} {kept_changes.kept(error, since=0).sentence}", FOUND_OR_REFUSED)
        if trouble is None and not isinstance(error, OperationalError):
            raise
        # Whatever the command, a database that can't be used now is a sentence and no traceback.
        kept = kept_changes.kept(error, since=0)
        what_is_kept = "" if kept is kept_changes.Kept.NOTHING else f". {kept.sentence}"
        _end(f"{headline(trouble)}: {first_line(error)}{what_is_kept}")
