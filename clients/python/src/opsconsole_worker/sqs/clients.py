"""The creation of boto3's clients. Only this module and the credentials need boto3, which takes long to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from opsconsole_worker.sqs import answer_deadlines, followers
from opsconsole_worker.sqs.credentials import RenewableCredentials, session_with
from opsconsole_worker.sqs.failures import check_answer

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

CONFIG = Config(
    connect_timeout=3,
    read_timeout=answer_deadlines.SECONDS,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=16,
    # Requests are made by this package, with types; SQS checks their values. It is an eighth of the work of a call.
    parameter_validation=False,
)
# For messages that boto3 must not send twice on its own. They can be anybody's, such as those of other senders.
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, parameter_validation=True)


def create(region: str, endpoint: str, *, once: bool) -> SQSClient:
    """Create a client that renews its credentials and checks what answers; with ``once``, it does not retry."""
    config = CONFIG.merge(ONCE) if once else CONFIG
    credentials = RenewableCredentials()
    # A separate session, because boto3's default session is not thread-safe while a client is created.
    session = boto3.session.Session(botocore_session=session_with(credentials))
    client = session.client("sqs", region_name=region, endpoint_url=endpoint, config=config)
    answer_deadlines.limit(client)
    followers.begin(client)
    client.meta.events.register("after-call.sqs", check_answer)
    # The types of boto3 know no handler whose answer counts.
    renew: Any = credentials.renew_when_refused
    client.meta.events.register_first("needs-retry.sqs", renew)
    return client


def create_for_buckets(region: str, endpoint: str | None) -> Any:
    """Create a client for S3. Stores at an address of their own have no host name per bucket."""
    session = boto3.session.Session(botocore_session=session_with(RenewableCredentials()))
    config = CONFIG.merge(Config(read_timeout=60, s3={"addressing_style": "path"} if endpoint else None))
    return session.client("s3", region_name=region, endpoint_url=endpoint, config=config)
