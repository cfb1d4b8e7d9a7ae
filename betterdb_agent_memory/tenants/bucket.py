"""How fast somebody may call: a bucket that a steady trickle of tokens fills. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """`tokens` as of `at` seconds; each call takes one.

    The usual form of a rate limit (token bucket, as in RFC 2697): in the long run `rate` calls a second, and up to
    `burst` at once.
    """

    tokens: float
    at: float

    def take(self, rate: float, burst: float, now: float) -> float:
        """0 where a token was there and has been taken, else the seconds until there is one."""
        self.tokens = min(burst, self.tokens + max(0.0, now - self.at) * rate)
        self.at = max(self.at, now)
        if self.tokens < 1:
            return (1 - self.tokens) / rate
        self.tokens -= 1
        return 0.0
