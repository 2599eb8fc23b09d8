"""Tests of the compose file's services: their own commands, with the environment that the file gives them."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from opsconsole.kit.models import ClusterProgress
from tests.conftest import TestQueue
from tests.field.conftest import roles
from tests.field.console import SECRET_KEY
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.databases import Database

VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
# What README.md says to put into deploy/.env.
ENV = {
    "POSTGRES_PASSWORD": "owner-secret",
    "POSTGRES_CONSOLE_PASSWORD": "console-secret",
    "VALKEY_PASSWORD": "store-secret",
    "OPSCONSOLE_SECRET_KEY": SECRET_KEY,
    "OPSCONSOLE_ALLOWED_HOSTS": "console.example",
}


def filled_in(text: str, given: dict[str, str]) -> str:
    """Fill in the variables as Compose does: ``:?`` demands one that is not empty, ``:-`` has a default."""

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        assert given.get(name) or kind == "-", f"{name} is missing in .env"
        return given.get(name) or default

    return VARIABLE.sub(value, text)


def database_word(port: int) -> str:
    """Return what the web service says of its database. It is not ready before the cluster has swept."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", "/readyz", headers={"Host": "console.example"})
    answer: dict[str, Any] = json.loads(client.getresponse().read())
    client.close()
    return str(answer["checks"]["database"])


def test_services_start_as_the_file_says_and_end_in_time(
    database: Database, sqs_queue: TestQueue, static_folder: Path, tmp_path: Path
) -> None:
    """Run migrate to its end, then all others until they work; nothing but addresses of other services is replaced."""
    given = ENV | {"SQS_QUEUE_URL": sqs_queue.url, "SQS_DLQ_URL": sqs_queue.dlq_url}
    reached = roles(database) | {"CACHE_URL": os.environ["CACHE_URL"]}
    # Of this machine: the emulator of SQS, and where the image has its static files.
    here = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    here |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OPSCONSOLE_VAR_DIR": str(static_folder),
    }
    described: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())[
        "services"
    ]
    port = free_port()

    def run_by(name: str, words: list[str]) -> dict[str, Any]:
        service = described[name]["environment"]
        told = {key: filled_in(str(value), given) for key, value in service.items()}
        env = here | told | {key: value for key, value in reached.items() if key in told}
        return {"args": [word.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for word in words], "env": env}

    def command(name: str) -> dict[str, Any]:
        return run_by(name, shlex.split(filled_in(described[name]["command"], given)))

    done = subprocess.run(
        **command("migrate"), cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    names = [name for name in described if "migrate" in described[name].get("depends_on", {})]
    assert names == ["web", "cluster", "dispatcher", "alerts"]
    probe = [word.replace(":8000", f":{port}") for word in described["web"]["healthcheck"]["test"][1:]]
    with ExitStack() as ended, ExitStack() as started:
        running = {}
        for name in names:
            log = ended.enter_context((tmp_path / f"{name}.log").open("wb"))
            asked = command(name)
            started_program = program(
                asked["args"],
                env=asked["env"],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                end_signal=signal.SIGTERM,
            )
            running[name] = started.enter_context(started_program)
        healthy = run_by("web", probe)
        wait_until(
            lambda: subprocess.run(**healthy, capture_output=True, timeout=30, check=False).returncode == 0,
            timeout=120,
            what="the health check of web",
        )
        assert database_word(port) == "ok"
        with database.as_default():
            wait_until(
                lambda: ClusterProgress.objects.filter(probe__gte=1).exists(),
                timeout=120,
                what="the cluster's work",
            )
        assert {name: process.poll() for name, process in running.items()} == dict.fromkeys(names)
        started.close()
    logs = {name: (tmp_path / f"{name}.log").read_text()[-2_000:] for name in names}
    assert {name: process.returncode for name, process in running.items()} == dict.fromkeys(names, 0), logs
