"""Guards of started programs: what a fork of their owner closes."""

from __future__ import annotations

import os
from pathlib import Path

from opsconsole.kit.supervision.owned import Guard


def test_fork_closes_no_file_that_has_the_number_of_a_closed_guard(tmp_path: Path) -> None:
    guard = Guard()
    number = guard._pipe
    guard.close()
    first = os.open(tmp_path, os.O_RDONLY)
    # The file has that number in any case, whichever is free.
    os.dup2(first, number)
    pid = os.fork()
    if not pid:
        try:
            os.fstat(number)
        except OSError:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    for each in {first, number}:
        os.close(each)

    assert os.waitstatus_to_exitcode(status) == 0
