"""``collectstatic`` where the folder of static files can't be written: a sentence that names it, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

PRODUCTION = {
    "OPSCONSOLE_ENV": "production",
    "OPSCONSOLE_SECRET_KEY": "a key of fifty characters that is only used by this test",
    "OPSCONSOLE_ALLOWED_HOSTS": "ops.example.com",
    "DATABASE_URL": "postgres://unused.invalid/unused",
    "CACHE_URL": "redis://unused.invalid",
    "SQS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/jobs",
}


@pytest.mark.parametrize("in_the_way", ["static", "static/admin"])
def test_folder_that_cannot_be_written_is_named(tmp_path: Path, in_the_way: str) -> None:
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("a file")

    ended = subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "-v0"],
        cwd=REPOSITORY,
        env=os.environ | PRODUCTION | {"OPSCONSOLE_VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 3
    assert f"The static files can't be written to {tmp_path / 'static'}: " in ended.stderr
    assert "OPSCONSOLE_VAR_DIR" in ended.stderr and "Traceback" not in ended.stderr
