"""What a worker remembers of its credentials from one session to the next."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class LoginMemory:
    """Lives as long as the worker, and only in it."""

    refused: set[str] = field(default_factory=set)
    """Digests of refresh tokens that the vendor refused; presenting one again helps nobody."""
    limited_at_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """When a key, by type and suffix, was last found to be limited; monotonic seconds."""
