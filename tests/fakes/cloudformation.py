"""Three resource types that moto's CloudFormation lacks: an alarm, a subscription, a topic policy.

moto resolves parameters, conditions and references; these classes pass the results to moto's own services.
Importing this module is enough: moto collects the types once, when the first stack is created.
"""

from __future__ import annotations

import json
from typing import Any

import boto3
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel


class Made(CloudFormationModel):
    """A resource, known by the name or ARN that ``!Ref`` returns."""

    def __init__(self, reference: str) -> None:
        self.physical_resource_id = reference

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return False

    def is_created(self) -> bool:
        return True


class Alarm(Made):
    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> Made:
        properties = cloudformation_json["Properties"]
        boto3.client("cloudwatch", region_name=region_name).put_metric_alarm(**properties)
        return cls(properties["AlarmName"])


class Subscription(Made):
    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::Subscription"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> Made:
        properties = dict(cloudformation_json["Properties"])
        attributes = {
            "RawMessageDelivery": json.dumps(properties.pop("RawMessageDelivery")),
            "DeliveryPolicy": json.dumps(properties.pop("DeliveryPolicy")),
        }
        client = boto3.client("sns", region_name=region_name)
        made = client.subscribe(**properties, Attributes=attributes, ReturnSubscriptionArn=True)
        return cls(made["SubscriptionArn"])


class TopicPolicy(Made):
    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::TopicPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> Made:
        properties = cloudformation_json["Properties"]
        client = boto3.client("sns", region_name=region_name)
        for topic in properties["Topics"]:
            client.set_topic_attributes(
                TopicArn=topic,
                AttributeName="Policy",
                AttributeValue=json.dumps(properties["PolicyDocument"]),
            )
        return cls(resource_name)


# moto registers only direct subclasses of its model, and ``Made`` itself is no resource type.
parsing.get_model_map().update(
    {kind.cloudformation_type(): kind for kind in (Alarm, Subscription, TopicPolicy)}
)
