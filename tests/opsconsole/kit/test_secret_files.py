"""Tests of secrets from files: what is read, and what is refused with which sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from opsconsole_worker import secret_files
from opsconsole_worker.errors import InvalidSetting

VALUE = "hunter2-hunter2"


def read(path: Path | str, **others: str) -> str:
    return secret_files.text("NAME", {"NAME_FILE": str(path)} | others)


def test_variable_alone() -> None:
    assert secret_files.text("NAME", {"NAME": f" {VALUE} ", "NAME_FILE": " "}) == VALUE
    assert secret_files.text("NAME", {}) == ""


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n", " \n"])
def test_content_without_its_line_end(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes((VALUE + ending).encode())
    # An orchestrator exchanges a link when it exchanges the secret.
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read(file) == read(link) == read(f" {file}\n", NAME="") == VALUE
    file.write_text("another")
    assert read(link) == "another"


def test_both_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="NAME and NAME_FILE are both set") as refusal:
        read(tmp_path / "none", NAME=VALUE)
    assert VALUE not in str(refusal.value)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "No such file"),
    "a folder": (lambda path: path.mkdir(), "Is a directory"),
    "a pipe without a writer": (_pipe, "no regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "a circle": (lambda path: path.symlink_to(path), "symbolic links"),
    "empty": (lambda path: path.touch(), "it is empty"),
    "blank": (lambda path: path.write_text(" \n\n"), "it is empty"),
    "large": (lambda path: path.write_text("a" * (secret_files.LARGEST + 1)), "larger than 64 KiB"),
    "no text": (lambda path: path.write_bytes(VALUE.encode() + b"\xff"), "no text in UTF-8"),
    "a NUL byte": (lambda path: path.write_bytes(VALUE.encode() + b"\0x"), "a NUL byte"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_unfit_files_are_refused_without_their_content(tmp_path: Path, kind: str) -> None:
    make, why = UNFIT[kind]
    file = tmp_path / "file"
    make(file)
    with pytest.raises(InvalidSetting, match=why) as refusal:
        read(file)
    assert str(refusal.value).startswith(f"NAME_FILE names '{file}', which can't be used: ")
    assert VALUE not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize("path", ["a\0b", "a" * 5_000])
def test_impossible_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidSetting, match="NAME_FILE names 'a") as refusal:
        read(path)
    assert len(str(refusal.value)) < 400


def test_unreadable_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(VALUE)
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("root reads every file")
    with pytest.raises(InvalidSetting, match="Permission denied"):
        read(file)
