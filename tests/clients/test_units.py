"""The package's own tests, which run in Node."""

from __future__ import annotations

import os
import subprocess

from tests.clients.node import PACKAGE, make
from tests.field.installed import installed


def test_unit_tests_of_the_typescript_package_pass() -> None:
    make("clients")
    files = sorted(str(path) for path in (PACKAGE / "test").glob("*.test.mjs"))
    done = subprocess.run(
        [installed("nodejs"), "--test", *files],
        cwd=PACKAGE,
        env={name: value for name, value in os.environ.items() if not name.startswith("OPSCONSOLE_")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]
