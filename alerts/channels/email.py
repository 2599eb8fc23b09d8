"""The adapter for e-mail. Apprise reads the URL and writes the message; the talk with the server is our own.

Apprise does not tell a wrong password from a server that is busy. A reply of 5xx is permanent, and one of 4xx passes
(RFC 5321, section 4.2.1): 535 breaks the channel, 454 does not.
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apprise

from alerts.channels.apprise_urls import texts
from alerts.channels.http_posts import without_secrets
from alerts.channels.outcome import ANSWER_LENGTH, ChannelAnswer, Outcome
from alerts.channels.wording import AlertMessage

TIMEOUT_SECONDS = 10.0
PERMANENT = range(500, 600)


def post(url: str, message: AlertMessage) -> ChannelAnswer:
    """Send a message to all recipients of the URL. Every failure becomes an answer."""
    channel: Any = apprise.Apprise.instantiate(url)
    if channel is None:
        return ChannelAnswer(Outcome.BROKEN, "Apprise does not understand the channel's URL.")
    title, body = texts(message)
    try:
        with _connection(channel) as server:
            return _send_all(channel, server, title, body, url)
    except smtplib.SMTPResponseException as error:
        return _refused(error.smtp_code, error.smtp_error, url)
    except (OSError, smtplib.SMTPException) as error:
        # Nothing was handed over yet. The error's text may contain the address.
        return ChannelAnswer(Outcome.AGAIN, f"No connection ({type(error).__name__})")


@contextmanager
def _connection(channel: Any) -> Iterator[smtplib.SMTP]:
    """Connect and log in as the URL says."""
    context = ssl.create_default_context()
    if not channel.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    server: smtplib.SMTP
    if channel.secure_mode == "ssl":
        server = smtplib.SMTP_SSL(channel.smtp_host, channel.port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        server = smtplib.SMTP(channel.smtp_host, channel.port, timeout=TIMEOUT_SECONDS)
    try:
        if channel.secure_mode == "starttls":
            server.starttls(context=context)
        if channel.user and channel.password:
            server.login(channel.user, channel.password)
        yield server
    finally:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            server.quit()


def _send_all(channel: Any, server: smtplib.SMTP, title: str, body: str, url: str) -> ChannelAnswer:
    """Send one mail per recipient. One who is refused for good does not break the channel for the others."""
    mails = type(channel).prepare_emails(
        subject=title,
        body=body,
        notify_format=apprise.NotifyFormat.TEXT,
        from_addr=channel.from_addr,
        to=channel.targets,
        cc=channel.cc,
        bcc=channel.bcc,
        reply_to=channel.reply_to,
        smtp_host=channel.smtp_host,
        headers=dict(channel.headers),
        names=channel.names,
        pgp=channel.pgp,
        pgp_mode=channel.pgp_mode,
        tzinfo=channel.tzinfo,
    )
    sender = channel.from_addr[1]
    return _overall([_send(server, sender, mail.to_addrs, mail.body, url) for mail in mails])


def _overall(answers: Sequence[ChannelAnswer]) -> ChannelAnswer:
    temporary = [each for each in answers if each.outcome in {Outcome.AGAIN, Outcome.UNKNOWN}]
    permanent = [each for each in answers if each.outcome in {Outcome.BROKEN, Outcome.MALFORMED}]
    if temporary:
        return temporary[0]
    if not permanent:
        return (
            answers[0] if answers else ChannelAnswer(Outcome.BROKEN, "The channel's URL names no recipient.")
        )
    if len(permanent) < len(answers):
        return ChannelAnswer(Outcome.DELIVERED, f"not to all recipients: {permanent[0].text}"[:ANSWER_LENGTH])
    return permanent[0]


def _send(server: smtplib.SMTP, sender: str, recipients: list[str], mail: str, url: str) -> ChannelAnswer:
    try:
        refused = server.sendmail(sender, recipients, mail)
    except smtplib.SMTPRecipientsRefused as error:
        # All recipients were refused. If one of the reasons passes, a later attempt may succeed.
        return _refused(*min(error.recipients.values()), url)
    except smtplib.SMTPDataError as error:
        answer = _refused(error.smtp_code, error.smtp_error, url)
        # The server takes messages, but not this one.
        malformed = answer.outcome == Outcome.BROKEN
        return ChannelAnswer(Outcome.MALFORMED, answer.text) if malformed else answer
    except smtplib.SMTPSenderRefused as error:
        return _refused(error.smtp_code, error.smtp_error, url)
    except (OSError, smtplib.SMTPServerDisconnected) as error:
        return ChannelAnswer(Outcome.UNKNOWN, f"No answer ({type(error).__name__})")
    if refused:
        code, text = next(iter(refused.values()))
        return ChannelAnswer(Outcome.DELIVERED, f"not to all recipients: {_text(code, text, url)}")
    return ChannelAnswer(Outcome.DELIVERED, "250 accepted")


def _refused(code: int, text: bytes | str, url: str) -> ChannelAnswer:
    return ChannelAnswer(Outcome.BROKEN if code in PERMANENT else Outcome.AGAIN, _text(code, text, url))


def _text(code: int, text: bytes | str, url: str) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    return without_secrets(f"{code} {' '.join(words.split())}", url)
