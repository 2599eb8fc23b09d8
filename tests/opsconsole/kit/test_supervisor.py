"""Tests of the supervisor with real processes: restarts, graceful stops, and no orphans in any case."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsconsole.kit.supervision import starting
from opsconsole.kit.supervision.guard import targets_left
from opsconsole.kit.supervision.supervisor import Program, StopRequests, Supervisor, ending
from tests.processes import Mark, marked
from tests.waiting import wait_until

FAMILY = """
    import subprocess, sys, signal
    child = subprocess.Popen([sys.executable, "-c", CHILD])
    signal.pause()
"""
SLEEPER = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause(); signal.pause()"


def code(source: str, **names: str) -> list[str]:
    assignments = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    return [sys.executable, "-c", assignments + textwrap.dedent(source)]


@pytest.fixture
def mark() -> Iterator[Mark]:
    with marked() as fresh:
        yield fresh


class Told(list[tuple[str, str]]):
    def __call__(self, name: str, sentence: str) -> None:
        self.append((name, sentence))


def test_program_that_exits_is_restarted_with_growing_delay(mark: Mark) -> None:
    told = Told()
    with Supervisor(told) as supervisor:
        supervisor.start(Program("fickle", code("raise SystemExit(3)"), mark.environ))
        wait_until(lambda: supervisor.turn() is not None and len(told) >= 2, 20)
    assert [(name, sentence.split(maxsplit=2)[2]) for name, sentence in told[:2]] == [
        ("fickle", "ended with code 3; it starts again in 1 s"),
        ("fickle", "ended with code 3; it starts again in 2 s"),
    ]


def test_start_that_the_system_refuses_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor of a host without memory would end, and with it the programs that still run."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    told = Told()
    with Supervisor(told) as supervisor:
        child = supervisor.start(Program("forked", ["forked"], run=signal.pause))
        os.kill(child.pid, signal.SIGKILL)
        files = len(starting.open_files())
        with monkeypatch.context() as refused:
            refused.setattr(os, "fork", refuse)
            wait_until(lambda: supervisor.turn() is not None and len(told) == 2, 20)
        assert len(starting.open_files()) <= files
        wait_until(lambda: supervisor.turn() == ["forked"], 20)
    assert told[1] == (
        "forked",
        "it could not be started ([Errno 11] Resource temporarily unavailable); that is tried again in 2 s",
    )


def test_restart_kills_the_whole_group(mark: Mark) -> None:
    told = Told()
    with Supervisor(told) as supervisor:
        child = supervisor.start(Program("family", code(FAMILY, CHILD=STUBBORN), mark.environ))
        wait_until(lambda: len(mark.pids()) == 2, 10)
        before = mark.pids()
        supervisor.restart("family", "it sulks")
        wait_until(lambda: not before & mark.pids(), 10)
        wait_until(lambda: supervisor.turn() == ["family"], 10)
    assert told == [
        ("family", f"process {child.pid} was killed by the supervisor: it sulks; it starts again in 1 s")
    ]
    wait_until(lambda: not mark.pids(), 10)


def test_orphans_of_dead_leader_are_killed_before_restart(mark: Mark) -> None:
    with Supervisor(Told()) as supervisor:
        leader = supervisor.start(Program("family", code(FAMILY, CHILD=STUBBORN), mark.environ))
        wait_until(lambda: len(mark.pids()) == 2, 10)
        orphan = mark.pids() - {leader.pid}
        os.kill(leader.pid, signal.SIGKILL)
        wait_until(lambda: supervisor.turn() is not None and not orphan & mark.pids(), 10)


def test_stop_signals_only_the_leader_and_waits(mark: Mark, tmp_path: Path) -> None:
    touch_at_term = """
        import pathlib, signal
        def heard(*_): pathlib.Path(PATH).touch(); raise SystemExit
        signal.signal(signal.SIGTERM, heard)
        pathlib.Path(PATH + ".ready").touch()
        signal.pause()
    """
    child = textwrap.dedent(f"PATH = {str(tmp_path / 'child')!r}\n") + textwrap.dedent(touch_at_term)
    leader = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', CHILD])\n" + textwrap.dedent(
        touch_at_term
    )
    with StopRequests() as stop, Supervisor(Told()) as supervisor:
        argv = code(leader, PATH=str(tmp_path / "leader"), CHILD=child)
        supervisor.start(Program("family", argv, mark.environ))
        wait_until(lambda: {f.name for f in tmp_path.iterdir()} == {"child.ready", "leader.ready"}, 10)
        supervisor.end(stop)
        assert (tmp_path / "leader").exists()
    assert not (tmp_path / "child").exists()
    wait_until(lambda: not mark.pids(), 10)


def test_program_that_does_not_stop_in_time_is_killed(mark: Mark) -> None:
    with StopRequests() as stop, Supervisor(Told()) as supervisor:
        supervisor.start(Program("stubborn", code(STUBBORN), mark.environ, grace=0.3))
        wait_until(lambda: len(mark.pids()) == 1, 10)
        supervisor.end(stop)
    assert not mark.pids()


def test_second_stop_request_kills_at_once(mark: Mark, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    source = STUBBORN.replace("signal.pause()", "open(DEAF, 'w').close(); signal.pause()", 1)
    with StopRequests() as stop, Supervisor(Told()) as supervisor:
        supervisor.start(Program("stubborn", code(source, DEAF=str(deaf)), mark.environ, grace=600))
        wait_until(deaf.exists, 20)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        supervisor.end(stop)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert stop.asked == 1
    assert not mark.pids()


def test_run_once_returns_exit_code(mark: Mark) -> None:
    with StopRequests() as stop, Supervisor(Told()) as supervisor:
        assert supervisor.run(Program("once", code("raise SystemExit(7)"), mark.environ), stop=stop) == 7
        os.kill(os.getpid(), signal.SIGTERM)
        assert supervisor.run(Program("once", code(SLEEPER), mark.environ), stop=stop) is None
    assert not mark.pids()


def test_output_goes_to_the_log(mark: Mark, tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    loud = code("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    with StopRequests() as stop, Supervisor(Told()) as supervisor:
        supervisor.run(Program("loud", loud, mark.environ, log), stop=stop)
    assert log.read_text() == "out\nerr\n"


SUPERVISE = """
    import signal, sys, os
    from opsconsole.kit.supervision.supervisor import Program, Supervisor
    supervisor = Supervisor(lambda *_: None)
    supervisor.start(Program("family", [sys.executable, "-c", PROGRAM]))
    while True:
        supervisor.turn()
        print("turned", flush=True)
        sys.stdin.readline()
"""


def a_killed_supervisor(mark: Mark, program: str, processes: int) -> subprocess.Popen[str]:
    argv = code(SUPERVISE, PROGRAM=program)
    started = subprocess.Popen(
        argv, env=mark.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(mark.pids()) == processes, 20)
    return started


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


FAMILY_PROGRAM = code(FAMILY, CHILD=STUBBORN)[2]


def test_killed_supervisor_leaves_no_process(mark: Mark) -> None:
    end(a_killed_supervisor(mark, FAMILY_PROGRAM, processes=4))
    wait_until(lambda: not mark.pids(), 10)


def test_supervisors_in_supervisors_leave_no_process_either(mark: Mark) -> None:
    inner = code(SUPERVISE.replace("sys.stdin.readline()", "signal.pause()"), PROGRAM=FAMILY_PROGRAM)[2]
    end(a_killed_supervisor(mark, inner, processes=6))
    wait_until(lambda: not mark.pids(), 10)


def test_killed_guard_is_replaced(mark: Mark) -> None:
    supervisor = a_killed_supervisor(mark, FAMILY_PROGRAM, processes=4)
    guards = [process for process in mark.processes() if "guard.py" in " ".join(process.cmdline())]
    assert len(guards) == 1
    guards[0].kill()
    wait_until(lambda: not guards[0].is_running() or guards[0].status() == "zombie", 10)
    assert supervisor.stdin
    supervisor.stdin.write("turn\n")
    supervisor.stdin.flush()
    wait_until(lambda: len(mark.pids()) == 4, 10)
    end(supervisor)
    wait_until(lambda: not mark.pids(), 10)


def test_guard_counts_what_was_not_taken_back() -> None:
    lines = ["+-10 9\n", "+-11 9\n", "+20 2\n", "--10\n", "-12\n"]
    assert targets_left(lines) == {-11: 9, 20: 2}


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(0, "ended with code 0"), (3, "ended with code 3"), (-9, "was killed by SIGKILL")],
)
def test_wording_of_exit_status(number: int, sentence: str) -> None:
    assert ending(number) == sentence
