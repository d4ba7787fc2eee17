"""`cf-workers breaker` and `cf-workers limits`: what lets calls through, and what holds them up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cf_workers.cli.output import columns, counted, notice, print_document, seconds_text, styled
from cf_workers.cli.session import Noun, session

if TYPE_CHECKING:
    from cf_workers.resilience import ScopeStatus, Transition

_COLOURS = {"closed": "green", "open": "red", "half_open": "yellow"}
_NOTHING = "no call was made within a day"


@click.group("breaker", cls=Noun)
def breaker() -> None:
    """The circuit breaker of each credential and class of models."""


@breaker.command("status")
def breaker_status() -> None:
    """Show the state of every breaker, and what has changed lately."""
    from cf_workers.client import Client

    with Client(config=session().config, announce=notice) as client:
        found, changes = client.operations.guards(), client.operations.breaker_changes()
    if session().json:
        breakers = [{"scope": str(one.scope), **_breaker(one)} for one in found]
        print_document({"breakers": breakers, "changes": [_change(change) for change in changes]})
        return
    if not found:
        notice(_NOTHING)
        return
    columns(
        ("SCOPE", "STATE", "SINCE", "FOR", "ANSWERED", "FAULTS", "IN A ROW", "PROBES"),
        (
            (
                str(one.scope),
                styled(one.breaker.state.replace("_", "-"), fg=_COLOURS[one.breaker.state]),
                _ago(one, one.breaker.since),
                _ahead(one, one.breaker.until),
                str(one.breaker.successes),
                str(one.breaker.faults),
                str(one.breaker.consecutive_faults),
                str(one.breaker.probes),
            )
            for one in found
        ),
    )
    for change in changes:
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(change.at))
        click.echo(f"{moment}  {change}")


@breaker.command("reset")
@click.argument("scope", required=False)
def breaker_reset(scope: str | None) -> None:
    """Close the breaker of SCOPE, or every one.

    SCOPE is as `breaker status` shows it, or a class of models.
    """
    from cf_workers.client import Client

    with Client(config=session().config, announce=notice) as client:
        meant, changes = client.operations.reset_breakers(scope)
    closed = [str(change.scope) for change in changes]
    if session().json:
        print_document({"success": True, "scopes": [str(one) for one in meant], "closed": closed})
        return
    for change in changes:
        click.echo(f"closed {change.scope}, which was {change.before.replace('_', '-')}")
    if not changes:
        notice(f"{counted(len(meant), 'breaker')}, none open: nothing to reset" if meant else _NOTHING)


@click.group("limits", cls=Noun)
def limits() -> None:
    """Rates, calls in flight, and who waits for them."""


@limits.command("status")
def limits_status() -> None:
    """Show how full the buckets are, what is in flight, who waits and why."""
    from cf_workers.client import Client

    with Client(config=session().config, announce=notice) as client:
        found, unasked = client.operations.guards(), client.operations.unasked()
    if session().json:
        limits = [{**one.document(), "scope": str(one.scope)} for one in found]
        print_document({"limits": limits, "unasked": asdict(unasked)})
        return
    if not found:
        notice(_NOTHING)
    for one in found:
        click.echo(styled(str(one.scope), bold=True))
        for line in _lines(one):
            click.echo(f"  {line}")
    if unasked.calls or unasked.failures:
        went = f"{counted(unasked.calls, 'call')} went by the guards"
        notice(f"{went}, since Redis failed them {counted(unasked.failures, 'time')}")


def _lines(one: ScopeStatus) -> Iterator[str]:
    for kind, bucket in one.buckets.items():
        source = "configured" if bucket.per_minute == bucket.configured else "told by the provider"
        yield (
            f"{kind.replace('_', ' ')}: {bucket.fill:.0%} full "
            f"({bucket.level:,.0f} of {bucket.capacity:,.0f}), {bucket.per_minute:,.0f} a minute, {source}"
        )
    if not one.buckets:
        yield "no limit is configured, and the provider has told none"
    window = one.window
    most = "no bound yet" if window.size is None else f"at most {window.size}"
    took = f", calls take {window.call_seconds:.1f} s" if window.call_seconds is not None else ""
    yield f"in flight: {window.in_flight}, {most}{took}"
    yield f"waiting: {one.waiters.total}{_why(one.waiters.reasons)}{_split('lane', one.waiters.lanes)}"
    if len(one.waiters.tenants) > 1:
        yield f"tenants that wait{_split('', one.waiters.tenants)}"
    if one.refused:
        numbers = {reason.replace("_", " "): number for reason, number in one.refused.items()}
        yield f"refused so far{_split('', numbers)}"
    if one.breaker.state != "closed":
        yield f"breaker: {one.breaker.state.replace('_', '-')}, for {_ahead(one, one.breaker.until)} more"
    if one.gate_until is not None:
        yield f"closed for {_ahead(one, one.gate_until)} more: the provider asked to wait ({one.gate_reason})"
    if one.stopped_until is not None:
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one.stopped_until))
        yield f"stopped until {moment}: a spend limit is reached ({one.stopped_code})"


def _why(reasons: Mapping[str, int]) -> str:
    from cf_workers.resilience import explain

    told = [f"{number} since {explain(reason)}" for reason, number in sorted(reasons.items())]  # type: ignore[arg-type]
    return f" ({'; '.join(told)})" if told else ""


def _split(what: str, numbers: Mapping[str, int]) -> str:
    told = ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()))
    return f"; by {what}: {told}" if told and what else f": {told}" if told else ""


def _change(change: Transition) -> dict[str, object]:
    return {**asdict(change), "scope": str(change.scope)}


def _breaker(one: ScopeStatus) -> dict[str, object]:
    breaker: dict[str, object] = one.document()["breaker"]
    return breaker


def _ago(one: ScopeStatus, moment: float | None) -> str:
    return "-" if moment is None else f"{seconds_text(max(0.0, one.now - moment))} ago"


def _ahead(one: ScopeStatus, moment: float | None) -> str:
    return "-" if moment is None else seconds_text(max(0.0, moment - one.now))
