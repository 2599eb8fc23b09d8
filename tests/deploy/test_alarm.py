"""Tests of the stand-alone dead letter alarm: valid, deployed to an emulator, and equal in both languages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import hcl2
import pytest
import yaml
from moto import mock_aws

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TEMPLATE = DEPLOY / "cloudformation" / "dlq-alarm.yaml"
ENDPOINT = "https://ops.example.com/hooks/sns"
REGION = "eu-west-1"
ALARM_ARN = f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:opsconsole-"

# The properties that decide when an alarm fires, as CloudFormation and Terraform name them.
JUDGEMENT = {
    "Namespace": "namespace",
    "MetricName": "metric_name",
    "Statistic": "statistic",
    "Period": "period",
    "EvaluationPeriods": "evaluation_periods",
    "DatapointsToAlarm": "datapoints_to_alarm",
    "Threshold": "threshold",
    "ComparisonOperator": "comparison_operator",
    "TreatMissingData": "treat_missing_data",
}
ACTIONS = {
    "AlarmActions": "alarm_actions",
    "OKActions": "ok_actions",
    "InsufficientDataActions": "insufficient_data_actions",
}


class Tagged(yaml.SafeLoader):
    """Reads each of CloudFormation's short forms (``!Ref x``) as its argument."""


def _untag(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node)


Tagged.add_multi_constructor("!", _untag)


def template() -> dict[str, Any]:
    read: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Tagged)
    return read


def terraform(kind: str, name: str) -> dict[str, Any]:
    """Return the arguments of one resource or data source, strings without their quotes."""
    for block in ("resource", "data"):
        for entry in parsed().get(block, []):
            found = plain(entry).get(kind, {}).get(name)
            if found:
                return dict(found)
    raise AssertionError(f"There is no {kind}.{name}.")


def parsed() -> dict[str, Any]:
    with (DEPLOY / "terraform" / "main.tf").open() as file:
        read: dict[str, Any] = hcl2.load(file)
    return read


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.strip('"') if isinstance(value, str) else value


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Provide an empty AWS account in memory."""
    # It adds resource types that moto lacks, and reads much of moto: a second and a half for each process that collects tests.
    from tests.fakes import cloudformation as _kinds  # noqa: F401

    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        yield


def deploy(name: str = "alarm", **parameters: str) -> dict[str, str]:
    """Create the stack and return its outputs."""
    client = boto3.client("cloudformation", region_name=REGION)
    given = {"DlqName": "jobs-dlq", "EndpointUrl": ENDPOINT} | parameters
    client.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    [stack] = client.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def alarms() -> list[Any]:
    return list(boto3.client("cloudwatch", region_name=REGION).describe_alarms()["MetricAlarms"])


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_cloudformation_is_lint_free() -> None:
    linted = lint(TEMPLATE)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_linter_reports_broken_template(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TEMPLATE.read_text().replace("ComparisonOperator: Gr", "ComparisonOperator: Cr"))
    linted = lint(wrong)
    assert linted.returncode and "CreaterThanThreshold" in linted.stdout


@pytest.mark.usefixtures("account")
def test_stack_makes_alarm_topic_and_subscription() -> None:
    outputs = deploy()

    [alarm] = alarms()
    assert alarm["AlarmName"] == outputs["AlarmName"] == "opsconsole-jobs-dlq-not-empty"
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "jobs-dlq"}]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("ApproximateNumberOfMessagesVisible", "Maximum")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
    assert alarm["TreatMissingData"] == "notBreaching"
    assert [alarm[action] for action in ACTIONS] == [[outputs["TopicArn"]]] * 3

    sns = boto3.client("sns", region_name=REGION)
    [topic] = sns.list_topics()["Topics"]
    assert topic["TopicArn"] == outputs["TopicArn"]
    [subscription] = sns.list_subscriptions()["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("https", ENDPOINT)
    assert subscription["TopicArn"] == outputs["TopicArn"]


@pytest.mark.usefixtures("account")
def test_only_alarms_of_this_account_may_publish() -> None:
    topic = deploy()["TopicArn"]

    attributes = boto3.client("sns", region_name=REGION).get_topic_attributes(TopicArn=topic)["Attributes"]
    [statement] = json.loads(attributes["Policy"])["Statement"]
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == (
        "Allow",
        ["sns:Publish"],
        [topic],
    )
    assert statement["Principal"] == {"Service": ["cloudwatch.amazonaws.com"]}
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": f"{ALARM_ARN}*"},
    }
    assert alarms()[0]["AlarmArn"].startswith(ALARM_ARN)


@pytest.mark.usefixtures("account")
def test_second_queue_uses_the_topic_of_the_first() -> None:
    topic = deploy()["TopicArn"]

    assert deploy("second", DlqName="slow-dlq.fifo", TopicArn=topic)["TopicArn"] == topic

    assert [alarm["AlarmActions"] for alarm in alarms()] == [[topic], [topic]]
    sns = boto3.client("sns", region_name=REGION)
    assert len(sns.list_topics()["Topics"]) == len(sns.list_subscriptions()["Subscriptions"]) == 1


def test_terraform_and_cloudformation_alarms_are_equal() -> None:
    ours = template()["Resources"]["DlqNotEmpty"]["Properties"]
    theirs = terraform("aws_cloudwatch_metric_alarm", "dlq_not_empty")

    assert {name: theirs[other] for name, other in JUDGEMENT.items()} == {
        name: ours[name] for name in JUDGEMENT
    }
    assert theirs["dimensions"] == {"QueueName": "${each.value}"}
    for name, other in ACTIONS.items():
        assert ours[name] and theirs[other] == ["${aws_sns_topic.alarms.arn}"]
    # Both files set the same properties of the alarm.
    shared = JUDGEMENT | ACTIONS | {"AlarmName": "alarm_name", "AlarmDescription": "alarm_description"}
    assert ours.keys() == shared.keys() | {"Dimensions"}
    assert named(theirs) == set(shared.values()) | {"dimensions"}


def test_names_are_equal() -> None:
    ours = template()["Resources"]
    theirs = terraform("aws_cloudwatch_metric_alarm", "dlq_not_empty")
    pairs = [
        (ours["DlqNotEmpty"]["Properties"]["AlarmName"], theirs["alarm_name"]),
        (ours["DlqNotEmpty"]["Properties"]["AlarmDescription"], theirs["alarm_description"]),
        (ours["Alarms"]["Properties"]["TopicName"], terraform("aws_sns_topic", "alarms")["name"]),
    ]
    for cloudformation, hcl in pairs:
        assert cloudformation == hcl.replace("var.name_prefix", "NamePrefix").replace("each.value", "DlqName")


def test_topic_policy_and_subscription_are_equal() -> None:
    ours = template()["Resources"]
    assert ours["Alarms"]["Properties"]["SignatureVersion"] == str(
        terraform("aws_sns_topic", "alarms")["signature_version"]
    )

    subscription = ours["Console"]["Properties"]
    theirs = terraform("aws_sns_topic_subscription", "console")
    assert (subscription["Protocol"], subscription["RawMessageDelivery"]) == (
        theirs["protocol"],
        theirs["raw_message_delivery"],
    )
    retries = subscription["DeliveryPolicy"]["healthyRetryPolicy"]
    text = (DEPLOY / "terraform" / "main.tf").read_text()
    for name, value in retries.items():
        assert any(line.split() == [name, "=", json.dumps(value)] for line in text.splitlines()), name

    [statement] = ours["AlarmsOnly"]["Properties"]["PolicyDocument"]["Statement"]
    [same] = terraform("aws_iam_policy_document", "alarms_only")["statement"]
    assert (statement["Sid"], statement["Effect"], statement["Action"]) == (
        same["sid"],
        same["effect"],
        same["actions"],
    )
    [principal] = same["principals"]
    assert {principal["type"]: principal["identifiers"]} == statement["Principal"]
    asked = {(condition["test"], condition["variable"]) for condition in same["condition"]}
    assert asked == {(test, name) for test, by in statement["Condition"].items() for name in by}


def test_retries_of_sns_end_within_the_hour_that_it_allows() -> None:
    policy = template()["Resources"]["Console"]["Properties"]["DeliveryPolicy"]["healthyRetryPolicy"]
    at_most = (
        policy["numMinDelayRetries"] * policy["minDelayTarget"]
        + (policy["numRetries"] - policy["numMinDelayRetries"]) * policy["maxDelayTarget"]
    )
    assert at_most <= 3_600


def named(block: dict[str, Any]) -> set[str]:
    """Return the arguments of a block, without Terraform's meta-arguments."""
    return {name for name in block if name != "for_each" and not name.startswith("__")}
