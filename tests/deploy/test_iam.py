"""Tests of the policies for AWS: each role may do what its programs call, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2

from opsconsole.verification import services
from tests.deploy.test_alarm import plain
from tests.repository import REPOSITORY

MODULE = REPOSITORY / "deploy" / "terraform" / "iam"
# The methods of the client that ``opsconsole_worker/sqs`` calls, and the action that AWS asks for. Batches need the same.
ACTIONS = {
    "send_message": "sqs:SendMessage",
    "send_message_batch": "sqs:SendMessage",
    "receive_message": "sqs:ReceiveMessage",
    "delete_message": "sqs:DeleteMessage",
    "delete_message_batch": "sqs:DeleteMessage",
    "change_message_visibility": "sqs:ChangeMessageVisibility",
    "change_message_visibility_batch": "sqs:ChangeMessageVisibility",
    "get_queue_attributes": "sqs:GetQueueAttributes",
}
# The functions of ``opsconsole_worker.sqs`` by the action that they need.
NEEDS = {
    "send_batch": "sqs:SendMessage",
    "send_raw": "sqs:SendMessage",
    "receive": "sqs:ReceiveMessage",
    "delete": "sqs:DeleteMessage",
    "delete_batch": "sqs:DeleteMessage",
    "release": "sqs:ChangeMessageVisibility",
    "release_batch": "sqs:ChangeMessageVisibility",
    "depth": "sqs:GetQueueAttributes",
}


def policies() -> dict[str, dict[str, set[str]]]:
    """Return the actions of each role's policy by the queues that they are for: ``queue``, ``dlq`` or both."""
    with (MODULE / "main.tf").open() as file:
        parsed: dict[str, Any] = hcl2.load(file)
    found: dict[str, dict[str, set[str]]] = {}
    for entry in parsed["data"]:
        for name, document in plain(entry)["aws_iam_policy_document"].items():
            for statement in document["statement"]:
                assert statement["effect"] == "Allow"
                kinds = set(re.findall(r"var\.(queue|dlq|kms_key)_arns", str(statement["resources"])))
                assert kinds and "*" not in str(statement["resources"]), name
                for kind in kinds:
                    found.setdefault(name, {}).setdefault(kind, set()).update(statement["actions"])
    return found


def called(*folders: str) -> set[str]:
    """Return the actions that the modules of these folders need."""
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    text = "\n".join(path.read_text() for path in files)
    return {NEEDS[name] for name in re.findall(r"\bsqs\.(\w+)\(", text) if name in NEEDS}


def test_every_call_has_its_action() -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "opsconsole_worker" / "sqs").glob("*.py"))
    methods = set(re.findall(r"\bclient(?:_for\([^)]*\))?\.(\w+)\(", text))
    assert methods <= ACTIONS.keys()
    assert {ACTIONS[method] for method in methods} == set(NEEDS.values())


def test_roles_may_do_what_their_programs_call_and_nothing_else() -> None:
    granted = policies()
    assert granted.keys() == {"console", "web", "worker", "keys"}
    worker, console = granted["worker"], granted["console"]
    assert worker["queue"] | worker["dlq"] == called("opsconsole_worker/working")
    assert worker["dlq"] == {"sqs:SendMessage"}
    assert console["queue"] == called("jobs/messaging")
    # Replays go to queues; what is sent to a dead letter queue is the probe of verify, which tries the same actions.
    assert console["dlq"] == called("jobs/dead_letters") == set(services.ON_DLQ)
    assert console["queue"] == set(services.ON_QUEUE)
    assert worker["queue"] == set(services.FOR_WORKERS)
    assert granted["web"] == {kind: {"sqs:GetQueueAttributes"} for kind in ("queue", "dlq")}
    assert granted["keys"] == {"kms_key": {"kms:GenerateDataKey", "kms:Decrypt"}}


def test_page_says_what_the_policies_grant() -> None:
    page = (REPOSITORY / "deploy" / "aws.md").read_text()
    for role, by_kind in policies().items():
        [line] = re.findall(rf"^\| `opsconsole-{role}` .*$", page, re.MULTILINE) or [""]
        for action in set().union(*by_kind.values()) if role != "keys" else ():
            assert f"`{action.removeprefix('sqs:')}`" in line, role


def test_module_is_whole() -> None:
    text = "".join(path.read_text() for path in sorted(Path(MODULE).glob("*.tf")))
    declared = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    for kind, name in re.findall(r"\b(?:data\.)?(aws_\w+)\.(\w+)\b", text):
        assert re.search(rf'^(?:data|resource) "{kind}" "{name}"', text, re.MULTILINE), (kind, name)
