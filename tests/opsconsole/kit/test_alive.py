"""Tests of the sign of life: a file, systemd's watchdog, and none in the name of another process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from opsconsole.kit import alive


@pytest.fixture(autouse=True)
def promised_by_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end what this process promised: its health would depend on it in later tests."""
    monkeypatch.setattr(alive.SignOfLife, "is_promised", False)


def test_file_is_touched_and_hidden_from_children(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "alive"
    settings.OPSCONSOLE_ALIVE_FILE = str(file)
    monkeypatch.setenv("OPSCONSOLE_ALIVE_FILE", str(file))
    life = alive.SignOfLife()
    assert "OPSCONSOLE_ALIVE_FILE" not in os.environ
    assert not file.exists()
    life.give()
    os.utime(file, (0, 0))
    life.give()
    assert file.stat().st_mtime > 0
    os.utime(file, (0, 0))
    # A fork of this process has its settings.
    alive.SignOfLife().give()
    assert file.stat().st_mtime == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_watchdog_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abstract: bool) -> None:
    name = f"opsconsole-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name if abstract else name)
        systemd.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        monkeypatch.setenv("WATCHDOG_USEC", "180000000")
        life = alive.SignOfLife()
        assert "WATCHDOG_USEC" not in os.environ
        life.give()
        assert systemd.recv(100) == b"WATCHDOG=1"


def test_nothing_is_written_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    alive.SignOfLife().give()
    assert not list(tmp_path.iterdir())


def test_sign_that_cannot_be_given_ends_no_loop_and_is_told_once(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "missing" / "alive"
    settings.OPSCONSOLE_ALIVE_FILE = str(file)
    monkeypatch.setenv("OPSCONSOLE_ALIVE_FILE", str(file))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.setenv("WATCHDOG_USEC", "180000000")
    life = alive.SignOfLife()

    life.give()
    life.give()
    assert len(caplog.messages) == 1
    assert "sign of life can't be given" in caplog.text and str(file) in caplog.text

    file.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "nobody"))
        life.give()
    assert file.exists() and len(caplog.messages) == 1
    # systemd has gone away: that is told anew.
    life.give()
    assert len(caplog.messages) == 2
