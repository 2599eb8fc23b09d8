"""nginx with TLS in front of the console, as a deployment has it."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
CONFIGURATION = """
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
    client_max_body_size 2m;
    upstream console {{
        server 127.0.0.1:{console};
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {host};
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        location / {{
            proxy_pass http://console;
            proxy_http_version 1.1;
            {headers}
        }}
    }}
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
    _write_certificate(own)
    port = free_port()
    configuration = own / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        CONFIGURATION.format(
            folder=own, user=user, console=console, port=port, host=HOST, headers=documented_headers()
        )
    )
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


def documented_headers() -> str:
    """Return the lines by which the documented nginx sets and empties headers."""
    sample = (REPOSITORY / "deploy" / "README.md").read_text()
    return "\n".join(re.findall(r"^ +(proxy_set_header .*;)$", sample, re.MULTILINE))


def _write_certificate(folder: Path) -> None:
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
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
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
