"""Readers of the environment variables of single sign-on, refused as ``opsconsole.kit.env`` refuses."""

from __future__ import annotations

from opsconsole.kit import env
from opsconsole_worker.url_check import is_loopback, is_url


def lists(name: str, example: str) -> dict[str, list[str]]:
    """Read a JSON object from names to words, each a text or a list of texts; ``{}`` when the variable isn't set."""
    found = {}
    for key, value in env.mapping(name, example).items():
        found[key] = value if isinstance(value, list) else [value]
        if not key or not found[key] or not all(isinstance(each, str) and each for each in found[key]):
            env.refuse(name, f"a JSON object such as {example}", {key: value})
    return found


def issuer(name: str, *, loopback: bool) -> str:
    """Read the address of an identity provider: HTTPS, without a query. ``loopback`` also allows plain HTTP on this machine."""
    value = env.text(name)
    usable = is_url(value, ("https",)) or (loopback and is_loopback(value))
    if value and (not usable or set(value) & set("?#@")):
        env.refuse(name, "a URL such as https://login.example.com/realms/staff", value)
    return value
