from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import opsconsole
from tests.deploy.installing import make_environment, run
from tests.repository import REPOSITORY, tracked


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel only from files that git tracks, so that untracked files cannot hide an omission."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in tracked():
        copy = source / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)
    run(source, sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist))
    assert [path.name for path in dist.glob("*.tar.gz")] == [f"opsconsole-{opsconsole.__version__}.tar.gz"]
    [wheel] = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into its own environment, which sees the requirements of the test environment."""
    programs = make_environment(tmp_path_factory.mktemp("installed"))
    run(programs, str(programs / "pip"), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    return programs
