"""The files for Prometheus and Grafana, as the tests read them."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.repository import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "prometheus"


def rules() -> list[dict[str, Any]]:
    read = yaml.safe_load((FOLDER / "opsconsole.rules.yml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


def dashboard_queries() -> list[str]:
    read = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return [target["expr"] for panel in read["panels"] for target in panel["targets"]]
