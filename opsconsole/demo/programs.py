"""The demo's programs: those of a deployment, workers, a noisy client and the storyteller."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from opsconsole import paths
from opsconsole.demo.environment import QUEUE_BY_HAND, Wishes
from opsconsole.kit.supervision.supervisor import Program

CONSOLE = paths.command_words()
WORKERS = 3
HANDLER = "opsconsole.demo.handlers.submit_directories"
HANDLER_BY_HAND = "opsconsole.demo.handlers.buy_listings"
# As in production.
SERVED = "python:opsconsole.serving"
STORY = "story"
GRACE = 5.0


class Programs:
    """Makes the demo's programs. ``environ`` is the environment of all of them."""

    def __init__(self, wishes: Wishes, environ: Mapping[str, str]) -> None:
        self.wishes = wishes
        self.environ = environ

    def _program(self, name: str, *argv: str) -> Program:
        log = self.wishes.folder / "logs" / f"{name}.log"
        return Program(name, argv, self.environ, log, grace=GRACE)

    def web(self) -> Program:
        bind = f"127.0.0.1:{self.wishes.port}"
        gunicorn = (sys.executable, "-m", "gunicorn", "--config", SERVED)
        return self._program("web", *gunicorn, "--bind", bind, "--workers", "1", "--graceful-timeout", "2")

    def migrate(self) -> Program:
        return self._program("migrate", *CONSOLE, "migrate", "--no-input")

    def workers(self) -> list[Program]:
        command = (*CONSOLE, "run_worker", "--handler", HANDLER)
        return [self._program(f"worker-{number}", *command) for number in range(1, WORKERS + 1)]

    def worker_by_hand(self) -> Program:
        """Return the worker that dies again and again; without the console's code, so that it is soon back."""
        command = ("-m", "opsconsole_worker", "--handler", HANDLER_BY_HAND, "--queue", QUEUE_BY_HAND)
        return self._program("worker-listings", sys.executable, *command)

    def cluster(self) -> Program:
        return self._program("cluster", *CONSOLE, "run_cluster")

    def slack(self) -> Program:
        """Return the stand-in for Slack, which prints messages in the demo's output."""
        port = str(urlsplit(self.environ["SLACK_WEBHOOK_URL"]).port)
        return Program(
            "slack", [sys.executable, "-m", "opsconsole.demo.slack", port], self.environ, grace=GRACE
        )

    def noise(self) -> Program:
        """Return the client that is limited."""
        return self._program(
            "noise", sys.executable, "-m", "opsconsole.demo.noisy_client", self.wishes.address
        )

    def story(self) -> Program:
        """Return the storyteller, which prints in the demo's output and whose end ends the demo."""
        return Program(STORY, [*CONSOLE, "demo_story"], self.environ, grace=GRACE, once=True)
