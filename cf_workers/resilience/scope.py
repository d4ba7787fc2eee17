"""Which calls share one breaker, one gate and one set of limits?"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z0-9._-]{1,80}")


@dataclass(frozen=True)
class Scope:
    """Calls with one credential to one class of models.

    Args:
        credential: a digest, see `credential_digest`; never the credential itself.
        model_class: models of one class share the provider's rate limits.

    Raises:
        ValueError: a part is not a plain word.
    """

    credential: str
    model_class: str

    def __post_init__(self) -> None:
        for part in (self.credential, self.model_class):
            if not _NAME.fullmatch(part):
                raise ValueError(f"{part!r} cannot name a scope: use letters, digits, '.', '_' and '-'")

    def __str__(self) -> str:
        return f"{self.credential}/{self.model_class}"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """The scope that `str` spells."""
        credential, _, model_class = text.partition("/")
        return cls(credential, model_class)


def credential_digest(secret: str) -> str:
    """A name for a credential that says nothing of it and is the same in every worker."""
    return hashlib.sha256(b"cf_workers.credential\0" + secret.encode()).hexdigest()[:16]
