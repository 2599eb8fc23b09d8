"""Files in a bucket of S3. Its failures are translated to ``BucketError``, whose sentence says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore import exceptions as vendor

from opsconsole_worker.errors import OpsConsoleError
from opsconsole_worker.sqs.failures import NEEDS_CREDENTIALS, REFUSED_CREDENTIALS, detail, short_code

CHUNK = 1_048_576


class BucketError(OpsConsoleError):
    """A bucket could not be used; whether a file was stored is unknown."""


@dataclass(frozen=True)
class Bucket:
    """A bucket, in a region, or at the address of a store that speaks like S3."""

    name: str
    region: str
    endpoint: str | None

    def store(self, key: str, file: Path) -> None:
        """Store a file of at most 5 GB; S3 compares its checksum."""
        with _vendor_errors(self.name), file.open("rb") as opened:
            self._client().put_object(Bucket=self.name, Key=key, Body=opened, ChecksumAlgorithm="SHA256")

    def fetch(self, key: str, file: Path) -> None:
        """Write what is stored to this file."""
        with _vendor_errors(self.name):
            body = self._client().get_object(Bucket=self.name, Key=key)["Body"]
            with file.open("wb") as opened:
                for chunk in body.iter_chunks(CHUNK):
                    opened.write(chunk)

    def _client(self) -> Any:
        from opsconsole_worker.sqs import clients  # noqa: PLC0415 - boto3 takes long to import

        return clients.create_for_buckets(self.region, self.endpoint)


@contextmanager
def _vendor_errors(bucket: str) -> Iterator[None]:
    try:
        yield
    except vendor.ClientError as error:
        raise _from_answer(bucket, error) from error
    except NEEDS_CREDENTIALS as error:
        raise BucketError(
            f"There are no AWS credentials to use the bucket {bucket} with: {detail('', str(error))}"
        ) from error
    except vendor.BotoCoreError as error:
        raise BucketError(f"The bucket {bucket} can't be reached: {detail('', str(error))}") from error


def _from_answer(bucket: str, error: vendor.ClientError) -> BucketError:
    answer: Any = error.response
    code = short_code(str(answer.get("Error", {}).get("Code", "")))
    reason = detail(code, str(answer.get("Error", {}).get("Message", "")))
    if code in REFUSED_CREDENTIALS:
        return BucketError(f"AWS refuses the credentials that the bucket {bucket} is used with: {reason}")
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return BucketError(f"The bucket {bucket} can't be used now: {reason}")
    return BucketError(
        f"The bucket {bucket} refuses: {reason} This process needs s3:PutObject and s3:GetObject on it."
    )
