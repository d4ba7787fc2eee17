"""What did a call cost, in US dollars, at the prices of that day?

Prices come from the package genai-prices, except those of `prices.toml`. What is not known costs `None`: an
unknown model, a tier, a speed or a region without a published price. Each call is rounded once, to whole
billionths of a dollar, and everything else is a sum of these: so runs, agents, workflows and days add up.
"""

from __future__ import annotations

import logging
import re
import threading
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from cf_workers.agents.definition import Usage
from cf_workers.money import NANOS

log = logging.getLogger(__name__)

_MILLION = Decimal(1_000_000)
_STANDARD_TIERS = (None, "standard", "batch")
_FAST, _STANDARD_SPEEDS = "fast", (None, "standard")
_ANYWHERE = (None, "global", "not_available")
_SNAPSHOT = re.compile(r"(-latest|[-@]\d{8}|-\d{4}-\d{2}-\d{2})$")
"""What may follow the name of a model without making it another one."""


@dataclass(frozen=True)
class PriceRow:
    """The prices of one model for a time, in US dollars per million tokens; `None` is unknown."""

    model: str
    source: str
    valid_from: date | None = None
    valid_to: date | None = None
    input: Decimal | None = None
    output: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    cache_read: Decimal | None = None
    batch_factor: Decimal | None = None

    def holds(self, model: str, day: date) -> bool:
        """Whether this row prices that model on that day."""
        begun = self.valid_from is None or self.valid_from <= day
        return self.model == model and begun and (self.valid_to is None or day < self.valid_to)

    def cost(self, usage: Usage, *, batch: bool) -> Decimal | None:
        """What that usage costs; `None` when a price it needs is unknown."""
        factor = self.batch_factor if batch else Decimal(1)
        items = [
            (usage.input_tokens, self.input),
            (usage.output_tokens, self.output),
            (_writes_5m(usage), self.cache_write_5m),
            (usage.cache_creation_1h_input_tokens, self.cache_write_1h),
            (usage.cache_read_input_tokens, self.cache_read),
        ]
        total = Decimal(0)
        for tokens, price in items:
            if not tokens:
                continue
            if price is None or factor is None:
                return None
            total += tokens * price * factor / _MILLION
        return total


def cost_nanos(model: str, usage: Usage, *, batch: bool = False, at: datetime | None = None) -> int | None:
    """What one reply cost in whole billionths of a dollar; arguments and `None` as in `cost_usd`.

    The first reply of a model whose price is not known is warned of, once in a process.
    """
    cost = cost_usd(model, usage, batch=batch, at=at)
    if cost is None:
        _warn_once(model, usage)
        return None
    return int((cost * NANOS).to_integral_value(ROUND_HALF_EVEN))


def prompt_cache_saving_nanos(model: str, usage: Usage, *, batch: bool = False) -> int | None:
    """What prompt caching saved in one reply, in billionths of a dollar; negative if it only cost.

    Against the same prompt without any of it written or read; `None` when a price is not known.
    """
    if not usage.cache_creation_input_tokens and not usage.cache_read_input_tokens:
        return 0
    kept = Usage(service_tier=usage.service_tier, speed=usage.speed, inference_geo=usage.inference_geo)
    plain = kept.model_copy(
        update={"input_tokens": usage.prompt_tokens, "output_tokens": usage.output_tokens}
    )
    without = cost_nanos(model, plain, batch=batch)
    paid = cost_nanos(model, usage.model_copy(update={"web_search_requests": 0}), batch=batch)
    return None if without is None or paid is None else without - paid


def cost_usd(model: str, usage: Usage, *, batch: bool = False, at: datetime | None = None) -> Decimal | None:
    """What one reply cost, or `None` when the model or a price it needs is unknown; never 0 for that.

    Args:
        usage: of one request: some models price a request by its size, so sums may come out wrong.
        batch: part of a message batch; a usage whose tier says so counts as one in any case.
        at: when it was asked, now by default; without a time zone it is UTC.
    """
    if at is None:
        return _cost_of_today(model, usage, batch, datetime.now(UTC).date())
    return _cost_at(model, usage, batch, at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))


@lru_cache(maxsize=1_024)
def _cost_of_today(model: str, usage: Usage, batch: bool, day: date) -> Decimal | None:
    """One call's cost is asked for by several: by its budget, the cache, the record and the metrics."""
    return _cost_at(model, usage, batch, datetime.combine(day, datetime.now(UTC).time(), UTC))


def _cost_at(model: str, usage: Usage, batch: bool, moment: datetime) -> Decimal | None:
    region = _region_factor(usage.inference_geo)
    if usage.service_tier not in _STANDARD_TIERS or region is None:
        return None
    tokens = _tokens_cost(model, usage, batch=batch or usage.service_tier == "batch", at=moment)
    if tokens is None:
        return None
    return tokens * region + usage.web_search_requests * _extras()["web_search"]


def _tokens_cost(model: str, usage: Usage, *, batch: bool, at: datetime) -> Decimal | None:
    name = _SNAPSHOT.sub("", model)
    for row in overrides():
        if row.holds(name, at.date()):
            return row.cost(usage, batch=batch) if usage.speed in _STANDARD_SPEEDS else None
    if usage.speed in _STANDARD_SPEEDS:
        return _listed_cost(model, name, usage, {"processing": "batch"} if batch else None, at)
    if usage.speed != _FAST or batch:
        return None
    fast = _listed_cost(model, name, usage, {"speed": _FAST}, at)
    # They give the standard price of a model that has no fast one.
    return None if fast == _listed_cost(model, name, usage, None, at) else fast


@cache
def overrides() -> tuple[PriceRow, ...]:
    """The rows of `prices.toml`."""
    return tuple(
        PriceRow(**{name: _read(name, value) for name, value in row.items()}) for row in _table()["price"]
    )


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((files("cf_workers.agents") / "prices.toml").read_text("utf-8"))


@cache
def _extras() -> dict[str, Decimal]:
    return {name: Decimal(price) for name, price in _table()["each"].items() if name != "source"}


def _region_factor(region: str | None) -> Decimal | None:
    """By what a region multiplies the price of tokens; `None` where that is not known."""
    if region in _ANYWHERE:
        return Decimal(1)
    return next((Decimal(row["factor"]) for row in _table()["region"] if row["name"] == region), None)


_warned: set[str] = set()
_lock = threading.Lock()


def _warn_once(model: str, usage: Usage) -> None:
    with _lock:
        new = model not in _warned
        _warned.add(model)
    if new:
        log.warning(
            "price.unknown model=%s tier=%s speed=%s region=%s: its costs are unknown, not zero",
            model,
            usage.service_tier,
            usage.speed,
            usage.inference_geo,
        )


def _read(name: str, value: Any) -> Any:
    return Decimal(value) if name not in {"model", "source", "valid_from", "valid_to"} else value


def _listed_cost(
    model: str, name: str, usage: Usage, context: dict[str, str] | None, at: datetime
) -> Decimal | None:
    """The price by their table; a misspelt key or value of the context silently gives the standard one."""
    import genai_prices

    try:
        price = genai_prices.calc_price(
            _their_usage(usage),
            model,
            provider_id="anthropic",
            genai_request_timestamp=at,
            price_context=context,
        )
    except LookupError:
        return None
    # They match by prefix: `claude-haiku-4-50` would be sold at the price of `claude-haiku-4-5`.
    listed = _SNAPSHOT.sub("", price.model.id)
    return price.total_price if listed in {name, f"{name}-0"} else None


def _their_usage(usage: Usage) -> Any:
    import genai_prices

    counts = {
        # Theirs is the total: uncached, written and read together.
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_input_tokens,
        "cache_write_tokens": usage.cache_creation_input_tokens,
        "cache_write_5m_tokens": _writes_5m(usage),
        "cache_write_1h_tokens": usage.cache_creation_1h_input_tokens,
    }
    return genai_prices.Usage(**{key: count for key, count in counts.items() if count})


def _writes_5m(usage: Usage) -> int:
    """Tokens written for five minutes, which is what a write is unless it is said to be for an hour."""
    return max(
        usage.cache_creation_5m_input_tokens,
        usage.cache_creation_input_tokens - usage.cache_creation_1h_input_tokens,
    )
