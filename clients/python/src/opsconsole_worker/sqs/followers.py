"""Whoever follows the calls to SQS, such as the console's metrics: told of each client when it is created."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

_followers: list[Callable[[SQSClient], None]] = []


def add(follow: Callable[[SQSClient], None]) -> None:
    """Call this function with each client that is created from now on."""
    if follow not in _followers:
        _followers.append(follow)


def begin(client: SQSClient) -> None:
    """Let everybody follow this client."""
    for follow in _followers:
        follow(client)
