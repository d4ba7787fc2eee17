"""How does a quote read?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.output import columns, cost_text, counted, seconds_text, styled
from cf_workers.money import usd

if TYPE_CHECKING:
    from cf_workers.client.quote import Quote, Span, StepQuote


def quote_document(quote: Quote) -> dict[str, Any]:
    """A quote for programs: dollars and seconds."""
    return {
        "cost_usd": _usd(quote.nanos),
        "seconds": asdict(quote.seconds),
        "expected_hits": quote.expected_hits,
        "critical_path": list(quote.critical_path),
        "steps": [
            {
                "step": step.step,
                "agent": step.agent,
                "model": step.model,
                "basis": step.basis,
                "samples": step.samples,
                "hit": step.hit,
                "hit_known": step.hit_known,
                "cost_usd": _usd(step.nanos),
                "seconds": asdict(step.seconds),
            }
            for step in quote.steps
        ],
    }


def show_quote(quote: Quote) -> None:
    """Print a quote for people, and where its figures come from."""
    columns(
        ("STEP", "MODEL", "CACHE", "LOW", "LIKELY", "HIGH", "TIME", "FROM"),
        (
            (
                step.step,
                step.model,
                _hit(step),
                *_amounts(step.nanos),
                seconds_text(step.seconds.likely),
                counted(step.samples, "execution") if step.basis == "history" else "its size",
            )
            for step in quote.steps
        ),
    )
    low, likely, high = _amounts(quote.nanos)
    seconds = quote.seconds
    click.echo(styled(f"cost: likely {likely}, from {low} to {high}", bold=True))
    click.echo(
        f"time: likely {seconds_text(seconds.likely)}, from {seconds_text(seconds.low)} to "
        f"{seconds_text(seconds.high)}, along {' -> '.join(quote.critical_path) or '-'}"
    )
    click.echo(f"expected cache hits: {quote.expected_hits:.1f} of {counted(len(quote.steps), 'step')}")
    if any(step.basis == "estimate" for step in quote.steps):
        click.echo(
            "by size: 4 bytes of prompt a token (3 to 5), an answer of a quarter of max_tokens "
            "(5 % to all of it), 60 tokens a second (30 to 100)"
        )


def _hit(step: StepQuote) -> str:
    if step.hit_known:
        return "hit" if step.hit else "-"
    return f"{step.hit:.0%}"


def _amounts(nanos: Span | None) -> tuple[str, str, str]:
    if nanos is None:
        return ("unknown",) * 3
    low, likely, high = (cost_text(usd(amount)) for amount in (nanos.low, nanos.likely, nanos.high))
    return low, likely, high


def _usd(nanos: Span | None) -> dict[str, float] | None:
    if nanos is None:
        return None
    return {name: usd(amount) for name, amount in asdict(nanos).items()}
