"""Credentials that are rotated while the process runs, with a server that refuses the old ones."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from opsconsole_worker import sqs
from opsconsole_worker.sqs import Outgoing, credentials

DEPTH = {
    "ApproximateNumberOfMessages": "1",
    "ApproximateNumberOfMessagesNotVisible": "0",
    "ApproximateNumberOfMessagesDelayed": "0",
    "VisibilityTimeout": "30",
    "MessageRetentionPeriod": "345600",
}


class Account:
    """SQS that accepts one access key. ``requests`` lists the keys of all requests, ``sent`` the accepted messages."""

    def __init__(self) -> None:
        self.accepted = "AKIAOLD"
        self.code = "ExpiredToken"
        self.message = "The security token is expired"
        self.requests: list[str] = []
        self.sent: list[str] = []
        self.url = ""

    def answer(self, key: str, action: str, body: str) -> tuple[int, dict[str, object]]:
        self.requests.append(key)
        if key != self.accepted:
            return 403, {
                "__type": f"com.amazonaws.sqs#{self.code}",
                "message": self.message,
            }
        if action == "SendMessageBatch":
            self.sent.append(body)
            return 200, {"Successful": [{"Id": "0", "MessageId": "m"}], "Failed": []}
        return 200, {"Attributes": DEPTH}


@pytest.fixture
def account(settings: Settings) -> Iterator[Account]:
    account = Account()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            key = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
            status, answer = account.answer(key, self.headers["X-Amz-Target"].rpartition(".")[2], body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    settings.AWS_ENDPOINT_URL = ""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        account.url = f"http://127.0.0.1:{server.server_port}/000000000000/jobs"
        try:
            yield account
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the process find its credentials in a file, as in a pod with a mounted secret."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(credentials, "SECONDS_BETWEEN_READS", 0.0)
    rotate(path, "AKIAOLD")
    sqs._client.cache_clear()
    yield path
    sqs._client.cache_clear()


def rotate(path: Path, key: str) -> None:
    path.write_text(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s-{key}\naws_session_token = t\n"
    )


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException"])
def test_rotated_file_is_read_without_a_restart(account: Account, file: Path, code: str) -> None:
    assert sqs.depth(account.url).visible == 1
    account.accepted, account.code = "AKIANEW", code
    rotate(file, "AKIANEW")

    assert sqs.depth(account.url).visible == 1
    assert account.requests == ["AKIAOLD", "AKIAOLD", "AKIANEW"]
    sqs.depth(account.url)
    assert account.requests[3:] == ["AKIANEW"], "the new ones are kept"


@pytest.mark.parametrize("once", [True, False])
def test_message_is_sent_once_with_the_new_credentials(account: Account, file: Path, once: bool) -> None:
    account.accepted = "AKIANEW"
    sqs.client_for(account.url, once=once)
    rotate(file, "AKIANEW")
    entry = Outgoing(key="a", body="{}")

    [result] = sqs.send_batch(account.url, [entry], once=once)
    assert result.message_id == "m"
    assert len(account.sent) == 1


def test_refused_credentials_are_named_and_tried_once_per_call(account: Account, file: Path) -> None:
    account.accepted = "AKIANEW"
    with pytest.raises(sqs.QueueMisconfigured) as caught:
        sqs.depth(account.url)
    assert account.requests == ["AKIAOLD"], "the file has not changed"
    sentence = str(caught.value)
    assert "AWS refuses the credentials" in sentence and "ExpiredToken" in sentence
    assert "its URL" not in sentence and "its region" not in sentence

    rotate(file, "AKIAOTHER")
    with pytest.raises(sqs.QueueMisconfigured, match="AWS refuses the credentials"):
        sqs.depth(account.url)
    assert account.requests == ["AKIAOLD", "AKIAOLD", "AKIAOTHER"]


def test_credentials_that_appear_later_are_found(account: Account, file: Path) -> None:
    file.unlink()
    with pytest.raises(sqs.QueueMisconfigured, match="There are no AWS credentials"):
        sqs.depth(account.url)
    rotate(file, "AKIAOLD")
    assert sqs.depth(account.url).visible == 1


def test_file_that_is_half_written_is_named_and_read_again(account: Account, file: Path) -> None:
    sqs.depth(account.url)
    account.accepted = "AKIANEW"
    file.write_text("[default]\naws_access_key_id = AKIANEW\n")
    with pytest.raises(sqs.QueueMisconfigured, match="credentials"):
        sqs.depth(account.url)
    rotate(file, "AKIANEW")
    assert sqs.depth(account.url).visible == 1


def test_threads_that_are_refused_at_once_all_succeed(account: Account, file: Path) -> None:
    sqs.depth(account.url)
    account.accepted = "AKIANEW"
    rotate(file, "AKIANEW")
    depths: list[int] = []
    threads = [
        threading.Thread(target=lambda: depths.append(sqs.depth(account.url).visible)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert depths == [1] * 8


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "InvalidSignatureException",
            "Signature expired: 20261128T010000Z is now earlier than 20261128T020000Z",
        ),
        ("SignatureDoesNotMatch", "Signature not yet current: 20261128T030000Z is still later than it"),
        ("RequestExpired", "Request has expired."),
    ],
)
def test_wrong_clock_is_no_matter_of_credentials(
    account: Account, file: Path, code: str, message: str
) -> None:
    account.accepted, account.code, account.message = "AKIANEW", code, message
    with pytest.raises(sqs.QueueMisconfigured) as caught:
        sqs.depth(account.url)
    assert "whose clock is wrong" in str(caught.value)
    assert "credentials" not in str(caught.value)


@pytest.mark.parametrize(
    "written", ["[default\naws_access_key_id = AKIANEW\n", "aws_access_key_id = AKIANEW"]
)
def test_half_written_file_sends_nothing_and_is_read_again(
    account: Account, file: Path, written: str
) -> None:
    file.write_text(written)
    with pytest.raises(sqs.QueueUnreachable, match="can't be read now"):
        sqs.send_batch(account.url, [Outgoing(key="a", body="{}")], once=True)
    assert account.requests == []

    rotate(file, "AKIAOLD")
    assert sqs.send_batch(account.url, [Outgoing(key="a", body="{}")], once=True)[0].message_id == "m"


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        (
            {"AccessKeyId": "AKIAOLD", "SecretAccessKey": "s", "Expiration": "2020-01-01T00:00:00Z"},
            "expired already, or the clock",
        ),
        ({"Message": "the vault is sealed"}, "can't be read now"),
    ],
    ids=["expired", "none"],
)
def test_credentials_that_cannot_be_fetched_send_nothing(
    account: Account,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    printed: dict[str, str],
    sentence: str,
) -> None:
    script, config = tmp_path / "process.py", tmp_path / "config"
    script.write_text(f"print({json.dumps({'Version': 1} | printed)!r})")
    config.write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    file.unlink()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(sqs.QueueUnreachable, match=sentence):
        sqs.send_batch(account.url, [Outgoing(key="a", body="{}")], once=True)
    assert account.requests == []
