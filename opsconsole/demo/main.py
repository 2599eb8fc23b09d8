"""The demo's supervisor: starts everything, keeps it running, and ends it. It reads no Django settings."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from opsconsole.demo import environment, leftovers, services
from opsconsole.demo.environment import MARK, DemoError, Wishes
from opsconsole.demo.output import say
from opsconsole.demo.programs import STORY, Programs
from opsconsole.embedded import EmbeddedServiceError
from opsconsole.kit.supervision.supervisor import TURN_SECONDS, StopRequests, Supervisor

FAILED = 1
REFUSED = 2
INTERRUPTED = 130
# In the format of our logs, and in that of gunicorn.
ERROR_LINE = re.compile(r"\S+ (?:ERROR|CRITICAL) |\[[^]]*\] \[\d+\] \[(?:ERROR|CRITICAL)\]")


def main() -> int:
    """Run the demo and return its exit code."""
    began = time.time()
    try:
        wishes = Wishes.of(dict(os.environ))
        with leftovers.only_one(wishes.folder):
            return _run(wishes, began)
    except (DemoError, EmbeddedServiceError) as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"The demo can't continue: {error}.\n")
    return REFUSED


def _run(wishes: Wishes, began: float) -> int:
    if killed := leftovers.clear(wishes.folder):
        say("demo", f"ended {killed} processes that an earlier demo had left")
    services.refuse_taken_port(wishes.port)
    os.environ[MARK] = str(wishes.folder)
    with StopRequests() as stop, ExitStack() as stack:
        say("demo", "starting PostgreSQL, Valkey and an SQS emulator")
        urls = services.start(wishes.folder, stack)
        variables = {
            "DEMO_BEGAN": str(began),
            "DEMO_ADDRESS": wishes.address,
            "DEMO_SECONDS": str(wishes.seconds or ""),
        }
        environ = environment.for_processes(wishes, urls) | variables
        supervisor = stack.enter_context(Supervisor(say))
        return Demo(wishes, Programs(wishes, environ), supervisor, stop).run(urls["AWS_ENDPOINT_URL"])


class Demo:
    """One demo whose services are running."""

    def __init__(
        self, wishes: Wishes, programs: Programs, supervisor: Supervisor, stop: StopRequests
    ) -> None:
        self.wishes = wishes
        self.programs = programs
        self.supervisor = supervisor
        self.stop = stop
        self.errors = ErrorLines(wishes.folder / "logs")

    def run(self, sqs_endpoint: str) -> int:
        """Keep all programs running until the story or a person ends the demo, and return its exit code."""
        self._start(sqs_endpoint)
        code = self._keep()
        say("demo", "ending all processes")
        self.supervisor.end(self.stop)
        return code

    def _start(self, sqs_endpoint: str) -> None:
        # Started first, because it loads while the database is prepared.
        self.supervisor.start(self.programs.web())
        say("demo", "starting the web server, preparing the database")
        if self.supervisor.run(self.programs.migrate(), stop=self.stop):
            raise DemoError(f"The database could not be prepared: see {self.errors.folder / 'migrate.log'}.")
        if self.stop.asked:
            return
        services.make_queues(sqs_endpoint)
        say("demo", "starting the cluster, four workers and a stand-in for Slack")
        self.supervisor.start(self.programs.slack())
        for program in [
            self.programs.cluster(),
            *self.programs.workers(),
            self.programs.noise(),
            self.programs.story(),
            self.programs.worker_by_hand(),
        ]:
            self.supervisor.start(program)

    def _keep(self) -> int:
        while not self.stop.asked:
            self.supervisor.turn()
            for name, line in self.errors.new():
                say(name, line)
            story = self.supervisor.child(STORY)
            if story and story.code is not None:
                return FAILED if story.code else 0
            time.sleep(TURN_SECONDS)
        return INTERRUPTED if self.wishes.seconds else 0


class ErrorLines:
    """Reads the lines of the programs' logs that report an error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}

    def new(self) -> list[tuple[str, str]]:
        """Return (program, line) per new error line, with the log's name at the end of the line."""
        logs = sorted(self.folder.glob("*.log"))
        return [
            (log.stem, f"{line}  ({log.name})")
            for log in logs
            for line in self._lines(log)
            if ERROR_LINE.match(line)
        ]

    def _lines(self, log: Path) -> list[str]:
        with log.open("rb") as file:
            file.seek(self._read.get(log, 0))
            text, end, _ = file.read().rpartition(b"\n")
        self._read[log] = self._read.get(log, 0) + len(text + end)
        return text.decode(errors="replace").splitlines()
