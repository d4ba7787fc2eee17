"""Which language models are there, and until when?"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import date

from cf_workers.errors import ConfigError

DEFAULT_MODEL = "claude-sonnet-5-5"
"""What an agent runs on unless somebody says otherwise."""

WARNING_DAYS = 60

_FAMILIES = ("fable", "mythos", "opus", "sonnet", "haiku")
_SNAPSHOT = re.compile(r"(.+)-\d{8}")
_NEAR_MISS = 0.85
_IDS_NAMED = 3


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model apart from its price.

    Args:
        limit_class: models of one class share the provider's rate limits.
        min_cacheable_tokens: a shorter prefix is silently not cached; `None`: not established.
        end_of_life: from this day on the provider answers no calls; `None`: none announced.
    """

    id: str
    limit_class: str
    min_cacheable_tokens: int | None = None
    end_of_life: date | None = None


# Ids and ends: `anthropic` 2.12, types/model.py and DEPRECATED_MODELS of resources/messages/messages.py, with
# which a test compares them. Newest first within a family.
# Cacheable minimum: https://platform.claude.com/docs/en/build-with-claude/prompt-caching
# Rate-limit classes: https://platform.claude.com/docs/en/api/rate-limits
_KNOWN = (
    ModelFacts("claude-fable-5-2", "claude-fable-5-2"),
    ModelFacts("claude-fable-5-1", "claude-fable-5", 512),
    ModelFacts("claude-fable-5", "claude-fable-5", 512),
    ModelFacts("claude-mythos-5-2", "claude-mythos"),
    ModelFacts("claude-mythos-5-1", "claude-mythos", 512),
    ModelFacts("claude-mythos-5", "claude-mythos", 512),
    ModelFacts("claude-mythos-preview", "claude-mythos", 2_048, date(2026, 6, 30)),
    ModelFacts("claude-opus-5-5", "claude-opus-5-5", 512),
    ModelFacts("claude-opus-5", "claude-opus-5", 512),
    ModelFacts("claude-opus-4-8", "claude-opus-4", 1_024),
    ModelFacts("claude-opus-4-7", "claude-opus-4", 2_048),
    ModelFacts("claude-opus-4-6", "claude-opus-4", 4_096),
    ModelFacts("claude-opus-4-5", "claude-opus-4", 4_096),
    ModelFacts("claude-opus-4-5-20251101", "claude-opus-4", 4_096),
    ModelFacts("claude-sonnet-5-5", "claude-sonnet-5-5"),
    ModelFacts("claude-sonnet-5", "claude-sonnet-5", 1_024),
    ModelFacts("claude-sonnet-4-6", "claude-sonnet-4", 1_024),
    ModelFacts("claude-sonnet-4-5", "claude-sonnet-4", 1_024, date(2026, 11, 30)),
    ModelFacts("claude-sonnet-4-5-20250929", "claude-sonnet-4", 1_024, date(2026, 11, 30)),
    ModelFacts("claude-haiku-5-5", "claude-haiku-5-5", 512),
    ModelFacts("claude-haiku-4-5", "claude-haiku-4-5", 4_096),
    ModelFacts("claude-haiku-4-5-20251001", "claude-haiku-4-5", 4_096),
)

KNOWN_MODELS = {model.id: model for model in _KNOWN}
"""The models that the provider's SDK lists, by id."""

RETIRED_MODELS = {
    "claude-opus-4-0": date(2026, 6, 15),
    "claude-opus-4-20250514": date(2026, 6, 15),
    "claude-sonnet-4-0": date(2026, 6, 15),
    "claude-sonnet-4-20250514": date(2026, 6, 15),
    "claude-3-7-sonnet-latest": date(2026, 2, 19),
    "claude-3-7-sonnet-20250219": date(2026, 2, 19),
    "claude-3-5-haiku-latest": date(2026, 2, 19),
    "claude-3-5-haiku-20241022": date(2026, 2, 19),
    "claude-3-opus-20240229": date(2026, 1, 5),
    "claude-3-sonnet-20240229": date(2025, 7, 21),
    "claude-2.1": date(2025, 7, 21),
    "claude-2.0": date(2025, 7, 21),
    "claude-1.3": date(2024, 11, 6),
    "claude-1.3-100k": date(2024, 11, 6),
    "claude-instant-1.1": date(2024, 11, 6),
    "claude-instant-1.1-100k": date(2024, 11, 6),
    "claude-instant-1.2": date(2024, 11, 6),
}
"""Models that only the SDK's list of retirements still names, with their last day."""

RETIRED_UNLISTED = {
    "claude-3-5-sonnet-latest": date(2025, 10, 28),
    "claude-3-5-sonnet-20241022": date(2025, 10, 28),
    "claude-3-5-sonnet-20240620": date(2025, 10, 28),
}
"""Models that the SDK's list leaves out and old programs name, with their last day as third parties give it.

These cite https://platform.claude.com/docs/en/about-claude/model-deprecations, where it was not looked up;
nothing hangs on the day but the words of the refusal."""

_ENDED = {**RETIRED_MODELS, **RETIRED_UNLISTED}


def model_facts(model_id: str) -> ModelFacts:
    """What is known of a model; of an unknown one only that it shares its rate limits with no other."""
    known = KNOWN_MODELS.get(model_id) or KNOWN_MODELS.get(_without_date(model_id))
    return known or ModelFacts(model_id, limit_class=model_id, end_of_life=_ENDED.get(model_id))


def check_model(model_id: str, today: date) -> str | None:
    """A warning for a model near its end or an id that looks misspelt; unknown ids pass, since models appear.

    Raises:
        ConfigError: the model has been retired, or the id is empty.
    """
    if not model_id.strip():
        raise ConfigError("the model id is empty", {"hint": f"for example {DEFAULT_MODEL}"})
    facts = model_facts(model_id)
    if facts.end_of_life is not None:
        return _check_end(model_id, facts.end_of_life, today)
    if facts.id in KNOWN_MODELS:
        return None
    meant = difflib.get_close_matches(model_id.lower(), _current_ids(today), n=1, cutoff=_NEAR_MISS)
    return (
        f"the model {model_id!r} is not known to this release; did you mean {meant[0]!r}?" if meant else None
    )


def _check_end(model_id: str, end: date, today: date) -> str | None:
    nearest = _nearest_current(model_id, today)
    if today >= end:
        raise ConfigError(
            f"the model {model_id!r} was retired on {end.isoformat()}",
            {"hint": f"use {' or '.join(nearest)}", "nearest": nearest},
        )
    days = (end - today).days
    if days > WARNING_DAYS:
        return None
    left = "1 day" if days == 1 else f"{days} days"
    return f"the model {model_id!r} ends on {end.isoformat()}, in {left}; use {' or '.join(nearest)}"


def _nearest_current(model_id: str, today: date) -> list[str]:
    """Current models of the same family, the newest first; the default for families that are gone."""
    family = next((family for family in _FAMILIES if family in model_id), None)
    found = [id_ for id_ in _current_ids(today) if family is not None and f"-{family}-" in id_]
    return found[:_IDS_NAMED] or [DEFAULT_MODEL]


def _current_ids(today: date) -> list[str]:
    """Models whose end is not announced, by their short ids."""
    return [
        model.id
        for model in _KNOWN
        if not _SNAPSHOT.fullmatch(model.id) and (model.end_of_life is None or _far(model.end_of_life, today))
    ]


def _far(end: date, today: date) -> bool:
    return (end - today).days > WARNING_DAYS


def _without_date(model_id: str) -> str:
    """The id of which this is a dated snapshot, such as `claude-haiku-4-5` of `claude-haiku-4-5-20251001`."""
    snapshot = _SNAPSHOT.fullmatch(model_id)
    return snapshot.group(1) if snapshot else model_id
