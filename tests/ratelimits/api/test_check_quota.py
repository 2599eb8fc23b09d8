"""The limiter for other services over HTTP, asked by the TypeScript package: at most the limit passes."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ratelimits.models import Policy
from tests import presets
from tests.clients.node import PACKAGE, make
from tests.field.installed import installed
from tests.keys import key, sent
from tests.serving import gunicorn

pytestmark = pytest.mark.django_db(transaction=True)

REQUESTS, LIMIT, QUOTA = 300, 100, 60
# Asks one after the other, and prints how many passed: of those that are asked at once, a few less may pass.
DRIVER = """
const [, , source, left, identity, instances] = process.argv;
const { rateLimit, rateLimitPresets } = await import(source);
// An answer that comes too late is counted twice, so that fewer pass.
const options = { keyGenerator: () => identity, instances: Number(instances), budgetMs: 20_000 };
const limiter = rateLimit({ ...rateLimitPresets.standard, ...options });
let passed = 0;
for (let asked = 0; asked < Number(left); asked += 1) {
  if ((await limiter.check(new Request("http://localhost/"))).allowed) passed += 1;
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
def driver(tmp_path: Path) -> Path:
    make("clients")
    written = tmp_path / "driver.mjs"
    written.write_text(DRIVER)
    return written


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
    """Run the package in this many processes at once, and return how many requests they let pass together."""
    environ = os.environ | {"OPSCONSOLE_URL": f"http://127.0.0.1:{port}", "OPSCONSOLE_KEY": text}
    command = [installed("nodejs"), str(driver), str(PACKAGE / "dist" / "index.js")]
    command += [str(requests // processes), identity, str(processes)]
    with ThreadPoolExecutor(processes) as pool:
        runs = [
            pool.submit(subprocess.run, command, env=environ, stdout=subprocess.PIPE, timeout=60, check=True)
            for _ in range(processes)
        ]
        return sum(int(run.result().stdout) for run in runs)


@pytest.mark.parametrize("port", [6_000], indirect=True)
def test_exactly_the_limit_passes_while_the_key_has_quota(port: int, driver: Path) -> None:
    """One client asks three times as often as it may. It costs the key's own policy nothing."""
    text = key("shop", policy="strict")[1]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(port, text), range(REQUESTS)))

    assert Counter((status, told["allowed"]) for status, told in answers) == {
        (200, True): LIMIT,
        (200, False): REQUESTS - LIMIT,
    }
    assert passed(driver, port, text, requests=REQUESTS, identity="b") == LIMIT
    # Clients who were refused have cost the quota nothing, and other clients are decided.
    assert ask(port, text, "c") == ask(port, text, "d")


@pytest.mark.parametrize("port", [QUOTA], indirect=True)
def test_exactly_the_limit_passes_when_the_quota_ends_in_between(port: int, driver: Path) -> None:
    """Before, a sample in the documentation let everybody pass once its key was refused: 300 of 300 at a limit of 100."""
    assert passed(driver, port, key("one")[1], requests=REQUESTS) == LIMIT
    assert passed(driver, port, key("four")[1], requests=REQUESTS, processes=4, identity="b") == LIMIT
    spent = key("spent")[1]
    for number in range(QUOTA):
        assert ask(port, spent, f"client-{number}")[0] == 200
    status, told = ask(port, spent, "c")
    assert (status, told["reason"], told["client"]["remaining"]) == (503, "check_quota", LIMIT)
    assert passed(driver, port, spent, requests=REQUESTS, identity="c") == LIMIT


def test_package_keeps_the_limit_while_the_console_is_away(driver: Path, free_port: int) -> None:
    assert passed(driver, free_port, "ock_none", requests=REQUESTS) == LIMIT
    assert passed(driver, free_port, "ock_none", requests=REQUESTS, processes=4) == LIMIT


@pytest.fixture
def free_port() -> int:
    from tests import serving  # a name of its own, because the fixture has the other

    return serving.free_port()
