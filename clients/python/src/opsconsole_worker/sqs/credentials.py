"""AWS credentials that are read again when AWS refuses them, so that rotated ones work without a restart.

boto3 reads a credentials file once. After a rotation it would be refused until the process ends.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import botocore.session
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.loaders import Loader

from opsconsole_worker.sqs.failures import REFUSED_CREDENTIALS

# Reading them may start a process or call another service.
SECONDS_BETWEEN_READS = 2.0


class RenewableCredentials(Credentials):
    """The credentials of this process, wherever boto3 finds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._source: Any = None
        # What this thread signed its last request with.
        self._signed_with = threading.local()
        # They are read when the first request is signed: what goes wrong then is an answer about its queue.
        super().__init__("", "", method="renewable")

    def get_frozen_credentials(  # type: ignore[override]  # botocore's signers take None for "there are none"
        self,
    ) -> ReadOnlyCredentials | None:
        """Return what the next request is signed with, or None if there are no credentials."""
        if self._source is None:
            self._read_unlike(None)
        credentials = self._frozen()
        self._signed_with.credentials = credentials
        return credentials

    def renew_when_refused(
        self, response: tuple[Any, Any] | None = None, attempts: int = 1, **_: Any
    ) -> float | None:
        """Repeat a refused request once, at once, with other credentials. The client calls this after each attempt."""
        code = response[1].get("Error", {}).get("Code", "") if response else ""
        refused = attempts == 1 and code.rpartition(".")[2].rpartition("#")[2] in REFUSED_CREDENTIALS
        return 0.0 if refused and self._read_unlike(self._signed_with.credentials) else None

    def _read_unlike(self, refused: ReadOnlyCredentials | None) -> bool:
        """Read the credentials, unless another thread did. Return whether there are others than the refused ones."""
        with self._lock:
            if self._frozen() == refused and time.monotonic() - self._read_at >= SECONDS_BETWEEN_READS:
                self._source = botocore.session.Session().get_credentials()
                self._read_at = time.monotonic()
            return self._frozen() not in (None, refused)

    def _frozen(self) -> ReadOnlyCredentials | None:
        if not self._source:
            return None
        try:
            frozen: ReadOnlyCredentials = self._source.get_frozen_credentials()
        except RuntimeError as error:
            # botocore has no error of its own for credentials that have expired when it fetches them.
            raise CredentialRetrievalError(
                provider=self._source.method,
                error_msg="They have expired already, or the clock of this host is wrong",
            ) from error
        return frozen


class _Provider(CredentialProvider):
    METHOD = CANONICAL_NAME = "renewable"

    def __init__(self, credentials: RenewableCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> RenewableCredentials:
        return self._credentials


# Of the services in botocore's list of endpoints, those that these sessions ask. The list of all takes 6 MB.
_ASKED = frozenset({"sqs", "s3", "sts"})


class _Loader(Loader):
    def load_data_with_path(self, name: str) -> tuple[Any, str]:
        data, path = super().load_data_with_path(name)
        if name == "endpoints":
            for partition in data["partitions"]:
                services = partition["services"]
                for other in services.keys() - _ASKED:
                    del services[other]
        return data, path


# What botocore knows of SQS takes long to load: once per process, and not once per session.
_LOADER = _Loader()


def session_with(credentials: RenewableCredentials) -> botocore.session.Session:
    """Return a session whose clients sign with these credentials."""
    session = botocore.session.Session()
    session.register_component("data_loader", _LOADER)
    session.register_component("credential_provider", CredentialResolver([_Provider(credentials)]))
    return session
