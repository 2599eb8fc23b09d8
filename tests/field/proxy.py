"""nginx with TLS in front of the console, as a deployment has it."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.field.installed import installed
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import free_port
from tests.waiting import wait_until

HOST = "localhost"
NAMES = [x509.DNSName(HOST), x509.IPAddress(IPv4Address("127.0.0.1"))]
SHIPPED = REPOSITORY / "deploy" / "nginx" / "opsconsole.conf"
# What Debian's nginx.conf says around the files in conf.d, with folders of the test's own.
AROUND = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/opsconsole.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running nginx, whose certificate is its own authority, and the port of the console behind it."""

    port: int
    certificate: Path
    console: int

    @property
    def address(self) -> str:
        return f"https://{HOST}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """Return TLS settings that trust this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))


@contextmanager
def nginx(folder: Path, console: int) -> Iterator[Proxy]:
    """Run nginx with TLS on loopback in front of the console's port."""
    command = installed("nginx")
    own = folder / "nginx"
    own.mkdir()
    write_certificate(own)
    port = free_port()
    configuration = own / "nginx.conf"
    (own / "opsconsole.conf").write_text(shipped(own, port=port, plain=free_port(), console=console))
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(AROUND.format(folder=own, user=user))
    tested = subprocess.run(
        [command, "-t", "-p", own, "-c", configuration, "-e", own / "error.log"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr, tested.stderr
    server = program(
        [command, "-p", own, "-c", configuration, "-e", own / "error.log"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        end_signal=signal.SIGTERM,
    )
    with server:
        wait_until(lambda: _listens(port), timeout=30, what=f"nginx: {own / 'error.log'}")
        yield Proxy(port, own / "certificate.pem", console)


def shipped(folder: Path, *, port: int, plain: int, console: int) -> str:
    """Return the file in deploy/nginx with what is another one here: addresses, the host's name and the certificate."""
    text = SHIPPED.read_text()
    for theirs, ours in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{console};"),
        ("server_name ops.example.com;", f"server_name {HOST};"),
        ("/etc/ssl/opsconsole/", f"{folder}/"),
    ):
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    return text


def write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
