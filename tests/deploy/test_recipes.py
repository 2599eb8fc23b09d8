"""Tests of the recipes against each other, against the schemas of their tools, and against the console's own names."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class

from opsconsole.kit import env
from tests.deploy import recipes
from tests.deploy.recipes import DEPLOY, PROGRAMS, UNITS, Start
from tests.field.installed import installed
from tests.opsconsole.test_settings import without_settings
from tests.repository import REPOSITORY

GIVEN = {
    "POSTGRES_PASSWORD": "owner-secret",
    "POSTGRES_CONSOLE_PASSWORD": "console-secret",
    "VALKEY_PASSWORD": "store-secret",
    "DATABASE_URL": "postgres://opsconsole:console-secret@postgres:5432/opsconsole",
    "OPSCONSOLE_OWNER_DATABASE_URL": "postgres://owner:owner-secret@postgres:5432/opsconsole",
    "CACHE_URL": "redis://:store-secret@valkey:6379/0",
    "OPSCONSOLE_SECRET_KEY": "a secret key of more than 32 characters",
    "OPSCONSOLE_ALLOWED_HOSTS": "ops.example.com",
    "SQS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
    "SQS_DLQ_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs-dlq",
}


@pytest.fixture
def starts(tmp_path: Path) -> list[Start]:
    recipes.mount(
        tmp_path,
        database_url=GIVEN["DATABASE_URL"],
        owner_database_url=GIVEN["OPSCONSOLE_OWNER_DATABASE_URL"],
        cache_url=GIVEN["CACHE_URL"],
        secret_key=GIVEN["OPSCONSOLE_SECRET_KEY"],
    )
    return recipes.of_compose(GIVEN) + recipes.of_systemd(GIVEN) + recipes.of_kubernetes(tmp_path)


def test_programs_are_the_same_in_every_recipe(starts: list[Start]) -> None:
    commands: dict[str, dict[str, list[str]]] = {}
    for start in starts:
        for words in start.commands:
            plain = words[: words.index("--bind")] if "--bind" in words else words
            if plain[1:] != ["collectstatic", "--noinput", "-v0"]:
                commands.setdefault(start.program, {}).setdefault(start.recipe, []).append(" ".join(plain))
    assert commands.keys() == PROGRAMS
    # The clusters of several pods have dispatchers of their own, so that none is needed beside. Pods of web and cluster scale apart.
    not_in_pods = {"dispatcher", "host"}
    for name in not_in_pods:
        assert commands[name].keys() == {"compose", "systemd"}
    for name, by_recipe in commands.items():
        assert len(set(map(tuple, by_recipe.values()))) == 1, name
        assert name in not_in_pods or by_recipe.keys() == {"compose", "systemd", "kubernetes"}
    assert commands["migrate"]["systemd"] == ["opsconsole migrate", "opsconsole sync_schedules"]
    assert commands["host"]["systemd"] == ["opsconsole run_cluster --web"]
    assert commands["web"]["systemd"] == ["gunicorn --config python:opsconsole.serving"]


def test_commands_and_their_options_exist(starts: list[Start]) -> None:
    for start in starts:
        for program, *words in start.commands:
            if program == "opsconsole":
                command = load_command_class(get_commands()[words[0]], words[0])
                command.create_parser("opsconsole", words[0]).parse_args(words[1:])


def test_settings_are_read_from_every_environment(
    starts: list[Start], monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in starts:
        with monkeypatch.context() as patched:
            for name in set(_environ()) - set(without_settings()):
                patched.delenv(name)
            for name, value in start.environment.items():
                patched.setenv(name, value)
            read = runpy.run_path(str(REPOSITORY / "opsconsole" / "settings.py"))
        assert read["OPSCONSOLE_ENV"] == "production", start
        assert read["DATABASES"]["default"]["USER"] == "opsconsole", start
        assert read["CACHE_URL"] == GIVEN["CACHE_URL"], start
        assert read["SECRET_KEY"] == GIVEN["OPSCONSOLE_SECRET_KEY"], start
        assert read["QUEUES"].keys() == {"default"}, start
        knows_owner = bool(read["OPSCONSOLE_OWNER_DATABASE_URL"])
        assert knows_owner is (start.program == "migrate"), start
        assert read["OPSCONSOLE_TRUSTED_PROXIES"] or start.program not in {"web", "host"}, start
        alive = bool(read["OPSCONSOLE_ALIVE_FILE"])
        assert alive or start.recipe == "systemd" or start.program in {"web", "migrate"}, start


def _environ() -> dict[str, str]:
    return dict(os.environ)


def test_programs_of_a_host_count_in_one_folder_that_they_can_write(starts: list[Start]) -> None:
    """The root is read-only everywhere. systemd creates RuntimeDirectory= and gives it to the user."""
    services = recipes.compose_services()
    for start in starts:
        if start.program == "migrate":
            continue
        told = start.environment["OPSCONSOLE_METRICS_DIR"]
        if start.recipe == "compose":
            assert services[start.program]["volumes"] == [f"metrics:{told}"]
            assert f"install -d -o 10001 {told}" in (DEPLOY / "Dockerfile").read_text()
        elif start.recipe == "systemd":
            unit = UNITS / f"opsconsole-{start.program}.service"
            assert recipes.directives(unit, "RuntimeDirectory") == [told.removeprefix("/run/")]
            assert recipes.directives(unit, "RuntimeDirectoryPreserve") == ["yes"]
        else:
            pod = recipes.pods()[start.program]
            [mounts] = [each["volumeMounts"] for each in pod["containers"]]
            empty = {each["name"] for each in pod["volumes"] if "emptyDir" in each}
            assert any(
                told.startswith(f"{each['mountPath']}/") for each in mounts if each["name"] in empty
            ), start


def test_names_in_environments_are_settings(starts: list[Start]) -> None:
    ours = env.known.keys() | {f"{name}_FILE" for name in env.secret_names}
    theirs = {"WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", "PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX"}
    for start in starts:
        set_here = start.environment.keys() - {
            "POSTGRES_PASSWORD",
            "POSTGRES_CONSOLE_PASSWORD",
            "VALKEY_PASSWORD",
        }
        assert set_here <= ours | theirs, start


def test_written_env_fits_the_compose_file(tmp_path: Path) -> None:
    script = DEPLOY / "new-env.sh"
    told = [
        subprocess.run(
            ["sh", str(script), "ops.example.com"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        for _ in range(2)
    ]
    written, other = (dict(line.split("=", 1) for line in each.splitlines()) for each in told)
    for name in (
        "POSTGRES_PASSWORD",
        "POSTGRES_CONSOLE_PASSWORD",
        "VALKEY_PASSWORD",
        "OPSCONSOLE_SECRET_KEY",
    ):
        assert re.fullmatch(r"[0-9a-f]{48,}", written[name])
        assert written[name] != other[name]
    empty = {name for name, value in written.items() if not value}
    queues = {"SQS_QUEUE_URL": GIVEN["SQS_QUEUE_URL"], "SQS_DLQ_URL": GIVEN["SQS_DLQ_URL"]}
    assert empty == queues.keys() | {"AWS_DEFAULT_REGION", "SLACK_WEBHOOK_URL"}
    with pytest.raises(AssertionError, match=r"SQS_QUEUE_URL is missing in \.env"):
        recipes.of_compose(written)
    for start in recipes.of_compose(written | queues):
        assert start.environment["DATABASE_URL"] == written["DATABASE_URL"]
        assert written["POSTGRES_CONSOLE_PASSWORD"] in start.environment["DATABASE_URL"]
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0 and "ops.example.com" in done.stderr


def test_files_fit_the_schemas_of_their_tools() -> None:
    assert recipes.schema_errors("compose.json", recipes.compose()) == []
    assert recipes.schema_errors("compose.json", recipes.of_one_service()) == []
    for each in recipes.manifests():
        assert recipes.schema_errors("kubernetes.json", each, each["kind"]) == [], each["metadata"]
    # The schemas notice a misspelt name.
    described = recipes.compose()
    described["services"]["web"]["stop_grace"] = "3s"
    assert recipes.schema_errors("compose.json", described)
    pod = recipes.manifest("Deployment", "web")
    pod["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert recipes.schema_errors("kubernetes.json", pod, "Deployment")


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.stem)
def test_units_are_valid_and_confined(unit: Path, tmp_path: Path) -> None:
    analyze = installed("systemd-analyze")
    copy = tmp_path / unit.name
    # The programs are not installed where the units look for them.
    copy.write_text(re.sub(r"/opt/opsconsole/bin/\w+", "/bin/true", unit.read_text()))
    checked = subprocess.run(
        [analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=15", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # systemd's exposure level is at most 1.5 of 10.
    assert judged.returncode == 0, judged.stdout[-2_000:]
    for name in ("NoNewPrivileges", "MemoryDenyWriteExecute", "ProtectHome", "PrivateTmp", "PrivateDevices"):
        assert recipes.directives(unit, name) == ["true"], name
    assert recipes.directives(unit, "CapabilityBoundingSet") == [""]
    watched = recipes.directives(unit, "WatchdogSec")
    assert bool(watched) is (unit.stem.split("-")[1] in {"cluster", "host", "dispatcher", "alerts"})


def test_commands_by_hand_have_the_environment_of_the_services(starts: list[Start], tmp_path: Path) -> None:
    """Otherwise ``verify`` speaks for other settings: no proxy is trusted, one process serves, files lie in /var."""
    fake = tmp_path / "systemd-run"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    told = subprocess.run(
        [str(UNITS / "opsconsole-run"), "verify", "--json"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.splitlines()
    assert told[-3:] == ["/opt/opsconsole/bin/opsconsole", "verify", "--json"]
    unit = UNITS / "opsconsole-host.service"
    set_here = dict(
        word.removeprefix("--setenv=").split("=", 1) for word in told if word.startswith("--setenv=")
    )
    [host] = [start for start in starts if (start.recipe, start.program) == ("systemd", "host")]
    assert set_here == {name: value for name, value in host.environment.items() if name not in GIVEN}
    for directive, option in (
        ("User", "--uid"),
        ("WorkingDirectory", "--working-directory"),
        ("EnvironmentFile", "--property=EnvironmentFile"),
    ):
        [value] = recipes.directives(unit, directive)
        assert f"{option}={value}" in told
    assert "--wait" in told


def test_every_program_has_a_health_check() -> None:
    services = recipes.compose()["services"]
    checked = {name for name, service in services.items() if "healthcheck" in service}
    assert checked == services.keys() - {"migrate"}
    for name, pod in recipes.pods().items():
        [container] = pod["containers"]
        probes = {probe: container[probe] for probe in container if probe.endswith("Probe")}
        if name == "migrate":
            assert not probes
        elif name == "web":
            paths = {probe: about["httpGet"]["path"] for probe, about in probes.items()}
            assert paths == {
                "startupProbe": "/healthz",
                "livenessProbe": "/healthz",
                "readinessProbe": "/readyz?exclude=sweep&exclude=queue",
            }
        else:
            looks = [about["exec"]["command"] for about in probes.values()]
            assert (
                looks == [["sh", "-c", services["cluster"]["healthcheck"]["test"][1].replace("$$", "$")]] * 2
            )


def test_pods_have_few_privileges() -> None:
    for name, pod in recipes.pods().items():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert re.fullmatch(r"[\w./-]+@sha256:[0-9a-f]{64}", container["image"]), name
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]
        secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert ("opsconsole-owner" in secrets) is (name == "migrate")
        assert not [each for each in container.get("env", []) if "valueFrom" in each], name
    [dockerfile_user] = re.findall(r"^USER (\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert {str(pod["securityContext"]["runAsUser"]) for pod in recipes.pods().values()} == {dockerfile_user}


def test_manifests_refer_to_each_other() -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in recipes.manifests()}
    spaces = {
        each["metadata"].get("namespace") for each in recipes.manifests() if each["kind"] != "Namespace"
    }
    assert spaces == {"opsconsole"}
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in _creators()]
    for each in recipes.manifests():
        selector = each.get("spec", {}).get("selector") or each.get("spec", {}).get("podSelector") or {}
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= found.items() for found in labels), each["metadata"]
    for name, pod in recipes.pods().items():
        assert ("ServiceAccount", pod["serviceAccountName"]) in names
        for volume in pod["volumes"]:
            assert "secret" not in volume or ("Secret", volume["secret"]["secretName"]) in names, name
    budgets = {name for kind, name in names if kind == "PodDisruptionBudget"}
    assert budgets == {
        each["metadata"]["name"] for each in _creators() if each["spec"].get("replicas", 1) > 1
    }


def _creators() -> list[dict[str, Any]]:
    return [each for each in recipes.manifests() if each["kind"] in {"Deployment", "Job"}]


def test_process_counts_are_those_that_run() -> None:
    web = recipes.manifest("Deployment", "web")["spec"]
    told = {each["name"]: int(each["value"]) for each in web["template"]["spec"]["containers"][0]["env"]}
    assert told["OPSCONSOLE_WEB_PROCESSES"] == web["replicas"] * told["WEB_CONCURRENCY"]
    # On one host, opsconsole.serving counts by itself.
    for start in recipes.of_compose(GIVEN) + recipes.of_systemd(GIVEN):
        assert "OPSCONSOLE_WEB_PROCESSES" not in start.environment
        assert start.program not in {"web", "host"} or start.environment["WEB_CONCURRENCY"] == "2"


def test_one_service_takes_the_place_of_two() -> None:
    """The port is published once, also where all profiles of compose.yaml are chosen."""
    together = recipes.of_one_service()["services"]
    chosen = {
        profile
        for service in recipes.compose()["services"].values()
        for profile in service.get("profiles", [])
    }
    assert not chosen & set(together["web"]["profiles"])
    assert together["cluster"]["ports"] == recipes.compose()["services"]["web"]["ports"]
    limits = {unit.stem: recipes.directives(unit, "LimitNOFILE") for unit in UNITS.glob("*.service")}
    assert limits["opsconsole-host"] == limits["opsconsole-web"]
    [replaced] = recipes.directives(UNITS / "opsconsole-host.service", "Conflicts")
    assert replaced.split() == ["opsconsole-web.service", "opsconsole-cluster.service"]


def test_long_running_programs_have_one_heap(starts: list[Start]) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert " MALLOC_ARENA_MAX=1 " in dockerfile
    for start in starts:
        if start.recipe == "systemd" and start.program != "migrate":
            assert start.environment["MALLOC_ARENA_MAX"] == "1", start


def test_unit_that_stops_others_starts_when_they_have_ended() -> None:
    """Without an order, systemd stops and starts them at once: the new one finds the port taken."""
    of_both = {
        unit.name: [set(" ".join(recipes.directives(unit, name)).split()) for name in ("Conflicts", "After")]
        for unit in UNITS.glob("*.service")
    }
    assert of_both["opsconsole-host.service"][0] == {"opsconsole-web.service", "opsconsole-cluster.service"}
    assert [name for name, (stopped, before) in of_both.items() if not stopped <= before] == []


def test_terraform_is_formatted() -> None:
    if not (terraform := shutil.which("terraform")):
        pytest.skip("terraform is not installed")
    done = subprocess.run(
        [terraform, "fmt", "-check", "-recursive", "-diff", str(DEPLOY / "terraform")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
