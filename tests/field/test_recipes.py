"""The programs of the recipes in ``deploy/``, with their own words and environments; only addresses are replaced.

Each kind of program runs once: web and the cluster as systemd starts them, apart and as one, under the filter of their units, and the
migrations as Kubernetes does, with secrets in files. ``tests/deploy/test_recipes.py`` holds that the others are the same.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opsconsole.kit.models import ClusterProgress
from tests.conftest import TestQueue
from tests.deploy import recipes
from tests.deploy.recipes import Start
from tests.field.conftest import roles
from tests.field.console import SECRET_KEY
from tests.field.installed import installed
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.databases import Database

HOST = "console.example"


def database_word(port: int) -> str:
    """Return what the web service says of its database. It is not ready before the cluster has swept."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", "/readyz?exclude=sweep&exclude=queue", headers={"Host": HOST})
    response = client.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    client.close()
    assert response.status == 200, answer
    return str(answer["checks"]["database"])


def by_name(starts: list[Start], name: str) -> list[Start]:
    return [start for start in starts if start.program == name]


@pytest.mark.parametrize("names", [("web", "cluster"), ("host",)], ids=["two services", "one service"])
def test_programs_start_as_the_recipes_say_and_end_in_time(
    database: Database, sqs_queue: TestQueue, static_folder: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    installed("systemd-analyze")
    reached = roles(database) | {
        "CACHE_URL": os.environ["CACHE_URL"],
        "SQS_QUEUE_URL": sqs_queue.url,
        "SQS_DLQ_URL": sqs_queue.dlq_url,
    }
    given = reached | {"OPSCONSOLE_SECRET_KEY": SECRET_KEY, "OPSCONSOLE_ALLOWED_HOSTS": HOST}
    # Of this machine: the emulator of SQS, where static files are, and the commands of the wheel.
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "opsconsole").write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY / "manage.py"} "$@"\n')
    (scripts / "opsconsole").chmod(0o755)
    here = {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | {
        "PATH": f"{scripts}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OPSCONSOLE_VAR_DIR": str(static_folder),
    }

    recipes.mount(
        tmp_path,
        database_url=reached["DATABASE_URL"],
        owner_database_url=reached["OPSCONSOLE_OWNER_DATABASE_URL"],
        cache_url=reached["CACHE_URL"],
        secret_key=SECRET_KEY,
    )
    [migrate] = by_name(recipes.of_kubernetes(tmp_path), "migrate")
    done = subprocess.run(
        migrate.words,
        env=migrate.environment | here,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    units = recipes.of_systemd(given)
    port = free_port()
    here["GUNICORN_CMD_ARGS"] = f"--bind 127.0.0.1:{port}"
    alive = tmp_path / "alive"
    with ExitStack() as ended, ExitStack() as started:
        running = {}
        for name in names:
            [unit] = by_name(units, name)
            log = ended.enter_context((tmp_path / f"{name}.log").open("wb"))
            sandboxed = [sys.executable, "-m", "tests.deploy.sandbox"]
            sandboxed += [str(recipes.UNITS / f"opsconsole-{name}.service"), *unit.words]
            running[name] = started.enter_context(
                program(
                    sandboxed,
                    env=unit.environment | here | {"OPSCONSOLE_ALIVE_FILE": str(alive)},
                    cwd=REPOSITORY,
                    stdout=log,
                    stderr=log,
                    end_signal=signal.SIGTERM,
                )
            )

        def healthy(service: str) -> bool:
            test = recipes.compose_services()[service]["healthcheck"]["test"]
            words = ["sh", "-c"] if test[0] == "CMD-SHELL" else []
            words += [
                word.replace("$$", "$")
                .replace("/tmp/alive", shlex.quote(str(alive)))
                .replace(":8000", f":{port}")
                for word in test[1:]
            ]
            return (
                subprocess.run(words, env=here, capture_output=True, timeout=30, check=False).returncode == 0
            )

        wait_until(lambda: healthy(names[0]), timeout=120, what="the health check of web")
        assert database_word(port) == "ok"
        with database.as_default():
            wait_until(
                lambda: ClusterProgress.objects.filter(probe__gte=1).exists(),
                timeout=120,
                what="the cluster's work",
            )
        assert healthy(names[-1])
        assert {name: process.poll() for name, process in running.items()} == dict.fromkeys(names)
        started.close()
        os.utime(alive, (0, 0))
        assert not healthy(names[-1]), "nobody touches the file any more"
    logs = {name: (tmp_path / f"{name}.log").read_text()[-2_000:] for name in names}
    assert {name: process.returncode for name, process in running.items()} == dict.fromkeys(names, 0), logs
