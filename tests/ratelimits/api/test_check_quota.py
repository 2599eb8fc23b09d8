"""The limiter for other services over HTTP, asked by the sample of docs/api.md: at most the published number pass."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ratelimits.models import Policy
from tests import presets
from tests.field.installed import installed
from tests.keys import key, sent
from tests.repository import REPOSITORY
from tests.serving import gunicorn

pytestmark = pytest.mark.django_db(transaction=True)

REQUESTS, LIMIT, QUOTA = 300, 100, 60
# Asks one after the other, and prints how many passed: of those that are asked at once, a few less may pass.
DRIVER = """
import { check } from "./limits.mjs";
let passed = 0;
for (let left = Number(process.argv[2]); left > 0; left -= 1) {
  if ((await check(process.argv[3])).allowed) passed += 1;
}
console.log(passed);
"""


@pytest.fixture
def port(request: pytest.FixtureRequest, limiter: None, tmp_path: Path) -> Iterator[int]:
    """Serve with four processes. The parameter is the quota of each key."""
    presets.write()
    Policy.objects.filter(name="standard").update(limit=LIMIT)
    Policy.objects.filter(name="limits-check").update(limit=request.param)
    with gunicorn(tmp_path, "--workers", "4") as number:
        yield number


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Return a program that uses the documented module as it stands in docs/api.md."""
    [module] = re.findall(
        r"```javascript\n(// limits\.mjs\n.*?)```", (REPOSITORY / "docs/api.md").read_text(), re.DOTALL
    )
    (tmp_path / "limits.mjs").write_text(module)
    driver = tmp_path / "driver.mjs"
    driver.write_text(DRIVER)
    return driver


def ask(port: int, text: str, identity: str = "a") -> tuple[int, dict[str, Any]]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"policy": "standard", "identity": identity})
        client.request("POST", "/api/limits/check", body, sent(text) | {"Content-Type": "application/json"})
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        client.close()


def passed(
    driver: Path, port: int, text: str, *, requests: int, processes: int = 1, identity: str = "a"
) -> int:
    """Run the sample in this many processes at once, and return how many requests they let pass together."""
    environ = os.environ | {
        "CONSOLE_URL": f"http://127.0.0.1:{port}",
        "CONSOLE_KEY": text,
        "WEB_PROCESSES": str(processes),
        # An answer that comes too late is counted twice, so that fewer pass.
        "CONSOLE_TIMEOUT_MS": "20000",
    }
    command = [installed("nodejs"), str(driver), str(requests // processes), identity]
    with ThreadPoolExecutor(processes) as pool:
        runs = [
            pool.submit(subprocess.run, command, env=environ, stdout=subprocess.PIPE, timeout=60, check=True)
            for _ in range(processes)
        ]
        return sum(int(run.result().stdout) for run in runs)


@pytest.mark.parametrize("port", [6_000], indirect=True)
def test_exactly_the_limit_passes_while_the_key_has_quota(port: int, sample: Path) -> None:
    """One client asks three times as often as it may. It costs the key's own policy nothing."""
    text = key("shop", policy="strict")[1]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(port, text), range(REQUESTS)))

    assert Counter((status, told["allowed"]) for status, told in answers) == {
        (200, True): LIMIT,
        (200, False): REQUESTS - LIMIT,
    }
    assert passed(sample, port, text, requests=REQUESTS, identity="b") == LIMIT
    # Clients who were refused have cost the quota nothing, and other clients are decided.
    assert ask(port, text, "c") == ask(port, text, "d")


@pytest.mark.parametrize("port", [QUOTA], indirect=True)
def test_exactly_the_limit_passes_when_the_quota_ends_in_between(port: int, sample: Path) -> None:
    """Before, the documented sample let everybody pass once its key was refused: 300 of 300 at a limit of 100."""
    assert passed(sample, port, key("one")[1], requests=REQUESTS) == LIMIT
    assert passed(sample, port, key("four")[1], requests=REQUESTS, processes=4, identity="b") == LIMIT
    spent = key("spent")[1]
    for number in range(QUOTA):
        assert ask(port, spent, f"client-{number}")[0] == 200
    status, told = ask(port, spent, "c")
    assert (status, told["reason"], told["client"]["remaining"]) == (503, "check_quota", LIMIT)
    assert passed(sample, port, spent, requests=REQUESTS, identity="c") == LIMIT


def test_sample_keeps_the_published_limit_while_the_console_is_away(sample: Path, free_port: int) -> None:
    assert passed(sample, free_port, "ock_none", requests=REQUESTS) == LIMIT
    assert passed(sample, free_port, "ock_none", requests=REQUESTS, processes=4) == LIMIT


@pytest.fixture
def free_port() -> int:
    from tests import serving  # a name of its own, because the fixture has the other

    return serving.free_port()
