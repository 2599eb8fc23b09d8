"""Tests of the image and its compose file: all names exist, and the services match the systemd units."""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml
from django.apps import apps
from django.conf import settings
from django.core.management import get_commands

from opsconsole.kit import env
from tests.deploy import recipes
from tests.repository import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
CONSOLE = {"web", "cluster", "dispatcher", "alerts", "migrate"}
# Variables that AWS's tools or the images of the services read.
NOT_OURS = {"POSTGRES_PASSWORD", "POSTGRES_CONSOLE_PASSWORD", "VALKEY_PASSWORD"}


def services() -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return described


def words(service: Any) -> list[str]:
    command = service["command"]
    return command if isinstance(command, list) else shlex.split(command)


def test_compose_file_has_only_console_services() -> None:
    assert services().keys() == CONSOLE | {"postgres", "valkey"}


def test_commands_exist() -> None:
    asked = [
        name
        for service in services().values()
        for name in re.findall(
            r"opsconsole ([a-z_]+)", " ".join(words(service)) if "command" in service else ""
        )
    ]
    assert sorted(asked) == ["dispatch_outbox", "migrate", "run_cluster", "send_alerts", "sync_schedules"]
    assert set(asked) <= get_commands().keys()


def test_stop_grace_periods_match_systemd_units() -> None:
    together = recipes.compose_services()
    for name, service in together.items():
        unit = DEPLOY / "systemd" / f"opsconsole-{name}.service"
        if unit.exists():
            [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
            assert service["stop_grace_period"] == f"{seconds}s", name
    units = {unit.stem.removeprefix("opsconsole-") for unit in (DEPLOY / "systemd").glob("*.service")}
    assert units <= CONSOLE | {"host"} <= together.keys()


def test_restart_of_a_task_does_not_cut_it_off() -> None:
    seconds = int(services()["cluster"]["stop_grace_period"].removesuffix("s"))
    assert seconds > int(str(settings.Q_CLUSTER["timeout"]))


def test_settings_exist_and_secrets_are_required() -> None:
    for name in CONSOLE:
        given = services()[name]["environment"]
        assert given.keys() <= env.known.keys() | NOT_OURS | {"WEB_CONCURRENCY"}, name
        assert {
            "DATABASE_URL",
            "CACHE_URL",
            "OPSCONSOLE_SECRET_KEY",
            "OPSCONSOLE_ALLOWED_HOSTS",
        } <= given.keys()
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert used <= env.known.keys() | NOT_OURS | {"WEB_CONCURRENCY"}
    defaults = set(re.findall(r"\$\{(\w+):-", (DEPLOY / "compose.yaml").read_text()))
    # The passwords of a database that is not started are not needed; postgres and its roles.sh refuse empty ones.
    unneeded = {"POSTGRES_PASSWORD", "POSTGRES_CONSOLE_PASSWORD"}
    assert defaults == {"AWS_DEFAULT_REGION", "OPSCONSOLE_TRUSTED_PROXIES", "WEB_CONCURRENCY"} | unneeded
    assert ': "${POSTGRES_CONSOLE_PASSWORD:?}"' in (DEPLOY / "postgres-roles.sh").read_text()


def test_recipes_name_their_proxies() -> None:
    described = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    [network] = described["networks"]["default"]["ipam"]["config"]
    given = services()["web"]["environment"]["OPSCONSOLE_TRUSTED_PROXIES"]
    assert given == f"${{OPSCONSOLE_TRUSTED_PROXIES:-{network['gateway']}}}"
    assert ip_address(network["gateway"]) in ip_network(network["subnet"])
    assert "--forwarded-allow-ips" not in services()["web"]["command"]
    unit = (DEPLOY / "systemd" / "opsconsole-web.service").read_text()
    assert "\nEnvironment=OPSCONSOLE_TRUSTED_PROXIES=127.0.0.1\n" in unit
    nginx = (DEPLOY / "nginx" / "opsconsole.conf").read_text()
    identities = ("X-Forwarded-User", "X-Auth-Request-User", "X-Remote-User", "Remote-User")
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", *identities):
        assert f"proxy_set_header {name} " in nginx


def test_only_migrate_knows_the_owner_of_the_tables() -> None:
    owner_url = {name: services()[name]["environment"]["OPSCONSOLE_OWNER_DATABASE_URL"] for name in CONSOLE}
    assert owner_url.pop("migrate") == "${OPSCONSOLE_OWNER_DATABASE_URL:?}"
    # What .env gives to every program is taken away again.
    assert set(owner_url.values()) == {""}
    assert services()["postgres"]["environment"]["POSTGRES_USER"] == "owner"
    for name in CONSOLE:
        assert services()[name]["environment"]["DATABASE_URL"] == "${DATABASE_URL:?}"
    units = [unit for unit in (DEPLOY / "systemd").iterdir() if "opsconsole/owner" in unit.read_text()]
    assert [unit.stem for unit in units] == ["opsconsole-migrate"]


def test_passwords_of_services_reach_only_those_who_need_them() -> None:
    """Check that what ``env_file`` gives to every program is taken away again."""
    for name in CONSOLE:
        given = services()[name]["environment"]
        assert {given[password] for password in NOT_OURS} == {""}, name


def test_valkey_asks_for_a_password_and_keeps_its_data() -> None:
    valkey = services()["valkey"]
    command = words(valkey)
    assert command[command.index("--requirepass") + 1] == "${VALKEY_PASSWORD:?}"
    assert command[command.index("--appendonly") + 1] == "yes"
    assert valkey["environment"]["REDISCLI_AUTH"] == "${VALKEY_PASSWORD:?}"
    for name in CONSOLE:
        assert services()[name]["environment"]["CACHE_URL"].startswith("redis://:${VALKEY_PASSWORD:?}@"), name


def test_images_of_others_are_named_by_digest() -> None:
    built = {services()[name]["image"] for name in CONSOLE}
    bases = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    pulled = [service["image"] for service in services().values() if service["image"] not in built]
    assert len(set(bases)) == 1
    assert len(pulled) == 2
    for image in (*bases, *pulled):
        assert re.fullmatch(r"[\w/]+:[\w.-]+@sha256:[0-9a-f]{64}", image), image


def test_containers_have_few_privileges() -> None:
    for name in CONSOLE:
        service = services()[name]
        assert service["read_only"] and service["init"] and service["cap_drop"] == ["ALL"], name
    assert [service["ports"] for service in services().values() if "ports" in service] == [
        ["127.0.0.1:8000:8000"]
    ]


def test_image_is_built_from_the_wheel_alone() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = re.split(r"^FROM .*$", text, flags=re.MULTILINE)[1:]
    wheel, packages, final = stages
    copied = set(re.findall(r"^COPY ([^-].*) \S+$", wheel, re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    ours = {config.name for config in apps.get_app_configs() if Path(config.path).parent == REPOSITORY}
    built_from = {
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "requirements.txt",
        "requirements-embedded.txt",
        "requirements-traces.txt",
        "clients/python/src/opsconsole_worker",
    }
    assert names == ours | built_from | {"requirements-build.lock", "docs/runbooks", "templates"}
    assert all((REPOSITORY / name).exists() for name in names)
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in allowed if line.startswith("!")} == names | {
        "requirements.lock",
        "requirements-traces.lock",
    }
    assert "*" in allowed
    # Everything that pip installs has a hash, or is the wheel.
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert [line for line in installs if "--require-hashes" not in line] == [
        "RUN /opt/opsconsole/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index /wheel/*.whl"
    ]
    assert "COPY --from=wheel /wheel /wheel" in packages
    assert re.findall(r"^(COPY .*|RUN (?!useradd).*)$", final, re.MULTILINE) == [
        "COPY --from=packages /opt/opsconsole /opt/opsconsole"
    ]
    assert re.search(r"^USER [1-9]\d*$", final, re.MULTILINE)
