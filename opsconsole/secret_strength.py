"""A lower bound for how hard a secret is to guess, from its text alone."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections import Counter

# What people write instead of a secret.
PLACEHOLDERS = re.compile(
    r"change.?me|replace|your.?(secret|key)|insecure|example|placeholder|default|password|secret.?key",
    re.IGNORECASE,
)
# A word of a passphrase, from a list of some thousand words.
BITS_PER_WORD = 11
ENOUGH_BITS = 100
# For a password that a server compares, which can be tried some thousand times a second.
ENOUGH_BITS_OF_PASSWORD = 40


def is_weak(secret: str) -> bool:
    """Tell whether a secret could be guessed: a placeholder, a pattern, or too few different characters."""
    return bool(PLACEHOLDERS.search(secret)) or bits(secret) < ENOUGH_BITS


def is_weak_password(password: str) -> bool:
    return bool(PLACEHOLDERS.search(password)) or bits(password) < ENOUGH_BITS_OF_PASSWORD


def bits(secret: str) -> float:
    """Return at most how many bits of chance the text can hold."""
    steps = [ord(right) - ord(left) for left, right in itertools.pairwise(secret)]
    estimates = [
        _entropy(secret),
        # A sequence such as abcdef0123 has many characters, but few different steps.
        _entropy(steps),
        # Deflate stores a repetition as a reference. Its frame and table take 8 bytes.
        8.0 * max(0, len(zlib.compress(secret.encode(), 9)) - 8),
    ]
    if re.fullmatch(r"[a-z]+([ .,_-]+[a-z]+)+", secret):
        estimates.append(len(re.findall(r"[a-z]+", secret)) * BITS_PER_WORD)
    return min(estimates)


def _entropy(items: str | list[int]) -> float:
    """Return Shannon's entropy of all items together, each as probable as it is frequent."""
    counts = Counter(items)
    return -sum(count * math.log2(count / len(items)) for count in counts.values())
