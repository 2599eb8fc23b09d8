"""Secrets in files. Where ``NAME`` holds a secret, ``NAME_FILE`` may name a file that contains it instead.

Orchestrators mount secrets as files, because an environment is shown by many tools and inherited by every child.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from opsconsole_worker.errors import InvalidSetting

SUFFIX = "_FILE"
# Every secret fits; a path such as that of a log is noticed.
LARGEST = 64 * 1024


def text(name: str, environment: Mapping[str, str]) -> str:
    """Return the secret, without surrounding blanks, of the variable ``name`` or of the file that its other form names."""
    value = str(environment.get(name, "")).strip()
    path = str(environment.get(name + SUFFIX, "")).strip()
    if not path:
        return value
    if value:
        raise InvalidSetting(f"{name} and {name + SUFFIX} are both set. Unset one of them.")
    return _content(name + SUFFIX, path)


def _content(variable: str, path: str) -> str:
    """Read the file. What it contains is never shown."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                _refuse(variable, path, "it is no regular file")
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        _refuse(variable, path, getattr(error, "strerror", None) or "no such path", error)
    if len(content) > LARGEST:
        _refuse(variable, path, f"it is larger than {LARGEST // 1024} KiB")
    try:
        # Editors on Windows put a byte order mark in front, which nobody sees.
        secret = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        _refuse(variable, path, "it is no text in UTF-8")
    if "\0" in secret:
        _refuse(variable, path, "it contains a NUL byte")
    if not secret:
        _refuse(variable, path, "it is empty")
    return secret


def _refuse(variable: str, path: str, why: str, cause: Exception | None = None) -> NoReturn:
    raise InvalidSetting(
        f"{variable} names {str(Path(path))[:200]!r}, which can't be used: {why}. Correct it, or unset it."
    ) from cause
