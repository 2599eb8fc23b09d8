"""The programs of Debian packages that these tests run: a test is skipped where one is missing, except in CI."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = "REQUIRE_FIELD"
# Debian puts servers here; not every user has it on the search path.
FOLDERS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


def installed(program: str) -> str:
    """Return the path of a program. Without it, skip the test, or fail it where ``REQUIRE_FIELD`` is 1."""
    path = shutil.which(program, path=FOLDERS)
    if path:
        return path
    hint = f"{program} is not installed, so the console was not tested with it: apt-get install {program}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(hint)
    pytest.skip(hint)
