"""The programs of the recipes in ``deploy/`` as each recipe starts them: words and environment."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # has no types
import yaml

from tests.repository import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
UNITS = DEPLOY / "systemd"
MANIFESTS = DEPLOY / "kubernetes"
SCHEMAS = Path(__file__).with_name("schemas")
PROGRAMS = {"web", "cluster", "host", "dispatcher", "alerts", "migrate"}
# Where the image and the units have the environment of the wheel.
BIN = "/opt/opsconsole/bin/"
MOUNTS = {"secrets": "/run/secrets/opsconsole", "owner": "/run/secrets/owner"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


@dataclass(frozen=True)
class Start:
    """One process of a recipe. ``environment`` has what the recipe sets, and not what the machine adds."""

    recipe: str
    program: str
    words: list[str]
    environment: dict[str, str]

    @property
    def commands(self) -> list[list[str]]:
        """Return the commands that a shell runs one after the other; mostly it is one without a shell."""
        words = shlex.split(self.words[-1]) if self.words[:2] == ["sh", "-c"] else self.words
        return [
            list(words[begin:end]) for begin, end in _between(words, "&&") if words[begin:end] != ["exec"]
        ]


def _between(words: list[str], separator: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for number, word in enumerate([*words, separator]):
        if word == separator:
            yield begin, number
            begin = number + 1


def filled_in(text: str, given: dict[str, str]) -> str:
    """Fill in the variables as Compose does: ``:?`` demands one that is not empty, ``:-`` has a default."""

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        assert given.get(name) or kind == "-", f"{name} is missing in .env"
        return given.get(name) or default

    return VARIABLE.sub(value, text).replace("$$", "$")


def compose() -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return described


def of_one_service() -> dict[str, Any]:
    """Return what Compose makes of compose.yaml and compose.host.yaml together."""
    added = yaml.safe_load((DEPLOY / "compose.host.yaml").read_text())
    return _merged(compose(), added)


def _merged(base: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Merge as Compose does where the two have no list in common: maps are merged, and the rest is replaced."""
    merged = base | added
    for key in base.keys() & added.keys():
        if isinstance(base[key], dict):
            merged[key] = _merged(base[key], added[key])
        assert not isinstance(base[key], list) or key == "test", f"Compose adds to the list {key}"
    return merged


def compose_services() -> dict[str, dict[str, Any]]:
    """Return the services of the console, with the one that runs web and cluster as ``host``."""
    services = compose()["services"] | {"host": of_one_service()["services"]["cluster"]}
    return {name: service for name, service in services.items() if name in PROGRAMS}


def of_compose(given: dict[str, str]) -> list[Start]:
    """Return the services of the console, with an .env of these lines."""
    return [
        Start(
            "compose",
            name,
            shlex.split(filled_in(service["command"], given)),
            given | {key: filled_in(str(text), given) for key, text in service["environment"].items()},
        )
        for name, service in compose_services().items()
    ]


def directives(unit: Path, name: str) -> list[str]:
    """Return the values of a directive of a unit, in order."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def of_systemd(given: dict[str, str]) -> list[Start]:
    """Return the commands of the units, with environment files of these lines."""
    starts = []
    for unit in sorted(UNITS.glob("*.service")):
        files = set(directives(unit, "EnvironmentFile"))
        told = dict(
            word.split("=", 1) for line in directives(unit, "Environment") for word in shlex.split(line)
        )
        # systemd reads files after Environment=, so that they win.
        told |= {
            key: text
            for key, text in given.items()
            if key != "OPSCONSOLE_OWNER_DATABASE_URL" or "/etc/opsconsole/owner" in files
        }
        name = unit.stem.removeprefix("opsconsole-")
        starts += [
            Start("systemd", name, _from_path(shlex.split(line)), told)
            for line in directives(unit, "ExecStart")
        ]
    return starts


def _from_path(words: list[str]) -> list[str]:
    assert words[0].startswith(BIN), words
    return [words[0].removeprefix(BIN), *words[1:]]


def manifests() -> list[dict[str, Any]]:
    return [
        each for file in sorted(MANIFESTS.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())
    ]


def manifest(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in manifests() if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods() -> dict[str, dict[str, Any]]:
    """Return the pods' descriptions by the name of what creates them."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in manifests()
        if each["kind"] in {"Deployment", "Job"}
    }


def of_kubernetes(mounted: Path) -> list[Start]:
    """Return the containers, with Secrets mounted below this folder."""
    starts = []
    for name, pod in pods().items():
        [container] = pod["containers"]
        told: dict[str, str] = {}
        for source in container["envFrom"]:
            told |= manifest("ConfigMap", source["configMapRef"]["name"])["data"]
        told |= {each["name"]: each["value"] for each in container.get("env", [])}
        told = {
            key: f"{mounted}{text}" if text.startswith("/run/secrets/") else text
            for key, text in told.items()
        }
        paths = [each["mountPath"] for each in container["volumeMounts"] if each["name"] in MOUNTS]
        assert all(
            any(text.startswith(f"{mounted}{path}/") for path in paths)
            for key, text in told.items()
            if key.endswith("_FILE") and key != "OPSCONSOLE_ALIVE_FILE"
        ), name
        starts.append(Start("kubernetes", name, container["args"], told))
    return starts


def mount(below: Path, **contents: str) -> None:
    """Write the files of the Secrets, with other contents than the manifests'."""
    for volume, secret in (("secrets", "opsconsole"), ("owner", "opsconsole-owner")):
        folder = below / MOUNTS[volume].lstrip("/")
        folder.mkdir(parents=True)
        for key in manifest("Secret", secret)["stringData"]:
            (folder / key).write_text(contents[key.replace("-", "_")] + "\n")


def schema_errors(file: str, document: Any, kind: str = "") -> list[str]:
    """Return what a schema of this folder says about a document."""
    schema = json.loads((SCHEMAS / file).read_text())
    if kind:
        schema = schema["kinds"][kind] | {"$defs": schema["$defs"]}
    validator = jsonschema.Draft202012Validator(schema) if kind else jsonschema.Draft7Validator(schema)
    return [f"{list(error.path)}: {error.message[:200]}" for error in validator.iter_errors(document)]
