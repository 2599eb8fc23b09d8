"""The programs of Debian packages that these tests run: a test is skipped where one is missing, except in CI."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = "REQUIRE_FIELD"
# Debian puts servers here; not every user has it on the search path.
FOLDERS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


def installed(program: str, *others: str) -> str:
    """Return the path of a program, or of another that does as well. Without any, skip the test, or fail it in CI."""
    for name in (program, *others):
        if path := shutil.which(name, path=FOLDERS):
            return path
    hint = f"{program} is not installed, so the console was not tested with it: apt-get install {program}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(hint)
    pytest.skip(hint)
