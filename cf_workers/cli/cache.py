"""`cf-workers cache`: what the response cache holds, what it saved, and how to change that."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.clients import opened_client
from cf_workers.cli.output import cost_text, counted, notice, print_document, seconds_text, warn
from cf_workers.cli.session import Noun, session
from cf_workers.errors import InputError
from cf_workers.money import usd

if TYPE_CHECKING:
    from cf_workers.cache import CacheStats, Inspection
    from cf_workers.client import Client
    from cf_workers.client.warming import Warmed
    from cf_workers.warming import Line

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_KIBIBYTE, _MEBIBYTE = 1024, 1024 * 1024


class Age(click.ParamType[float]):
    """Seconds, or a number with a unit: 90, 15m, 2h, 3d."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The age in seconds."""
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is not an age; write for example 90, 15m, 2h or 3d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@click.group("cache", cls=Noun)
def cache() -> None:
    """The response cache that all workers share."""


@cache.command("stats")
def stats() -> None:
    """Show what the cache holds and what it saved, for the whole fleet."""
    with opened_client() as client:
        found, enabled = client.cache.stats(), _enabled(client)
    if session().json:
        print_document(_stats_document(found, enabled=enabled))
        return
    rate = "-" if found.hit_rate is None else f"{found.hit_rate:.1%}"
    rows = (
        ("cache", "on" if enabled else "off"),
        ("hits", f"{found.hits:,} ({rate} of what was asked for)"),
        ("misses", f"{found.misses:,}"),
        ("stale answers", f"{found.stale_hits:,}"),
        ("saved", cost_text(found.saved_usd)),
        ("entries", f"{found.entries:,}"),
        ("size", f"{_size(found.bytes)} of {_size(found.max_bytes)}"),
        ("evictions", f"{found.evictions:,}"),
        ("expired", f"{found.expired:,}"),
        ("too large", f"{found.refused:,}"),
        ("integrity failures", f"{found.integrity_failures:,}"),
        ("server failures", f"{found.failures:,}"),
    )
    for name, value in rows:
        click.echo(f"{name:<20}{value}")


@cache.command("clear")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes: bool) -> None:
    """Take out every answer; what they cost will be paid again."""
    with opened_client() as client:
        if not yes:
            _confirm(client.cache.stats())
        removed = client.cache.clear()
    _told_removed(removed)


@cache.command("invalidate")
@click.option("--agent", help="Answers of this agent.")
@click.option("--workflow", help="Answers first given in this workflow.")
@click.option("--model", help="Answers of this model.")
@click.option("--older-than", type=Age(), metavar="AGE", help="Answers of that age: 90, 15m, 2h, 3d.")
def invalidate(agent: str | None, workflow: str | None, model: str | None, older_than: float | None) -> None:
    """Take out the answers that fit everything given."""
    if (agent, workflow, model, older_than) == (None, None, None, None):
        raise click.UsageError(
            "nothing says what to invalidate: give --agent, --workflow, --model or --older-than",
            click.get_current_context(),
        )
    with opened_client() as client:
        removed = client.cache.invalidate(
            agent=agent, workflow=workflow, model=model, older_than_seconds=older_than
        )
    _told_removed(removed)


@cache.command("inspect")
@click.argument("key")
@click.option("--content", is_flag=True, help="Show the answer as well.")
def inspect(key: str, content: bool) -> None:
    """Show what is known of the entry KEY."""
    with opened_client() as client:
        found = client.cache.inspect(key, content=content)
    if found is None:
        raise InputError(
            f"there is no entry {key[:16]}… in the cache", {"hint": "see `cf-workers cache stats`"}
        )
    if session().json:
        print_document({"success": True, **_inspection_document(found, content=content)})
        return
    for name, value in _inspection_document(found, content=False).items():
        click.echo(f"{name:<20}{value}")
    if content:
        click.echo(f"\n{found.document['output']}")


@cache.command("warm")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
def warm(file: Path) -> None:
    """Have the calls in FILE answered before anybody asks: one {"agent": …, "task": …} a line.

    Every line is checked before anything is sent. Answers that are known already are not asked for again.
    """
    with opened_client() as client:
        lines = client.warmer.read(_texts(file))
        ended = _warm(client, lines)
    document = _warmed_document(ended)
    if session().json:
        print_document(document)
    else:
        _tell_warmed(document)
    if not document["success"]:
        click.get_current_context().exit(1)


def _warm(client: Client, lines: list[Line]) -> list[Warmed]:
    from cf_workers.cli.workforce import Workforce
    from cf_workers.client.warming import warm

    ended: list[Warmed] = []
    with Workforce(client) as workforce:
        if not all(map(client.warmer.knows, lines)):
            workforce.require()
        with click.progressbar(length=len(lines), label="Warming the cache", file=sys.stderr) as bar:

            def told(one: Warmed) -> None:
                ended.append(one)
                bar.update(1)

            warm(client, lines, told)
    return ended


def _warmed_document(ended: list[Warmed]) -> dict[str, Any]:
    failed = [one for one in ended if one.error is not None]
    costs = [one.cost_usd for one in ended if one.error is None]
    return {
        "success": not failed,
        "lines": len(ended),
        "called": sum(one.called for one in ended if one.error is None),
        "known": sum(not one.called for one in ended if one.error is None),
        "failed": len(failed),
        "estimated_cost": None if None in costs else sum(cost for cost in costs if cost is not None),
        "errors": [
            {"line": one.line.number, "type": type(one.error).__name__, "message": one.error.message}
            for one in failed
            if one.error is not None
        ],
    }


def _tell_warmed(document: Mapping[str, Any]) -> None:
    made = f"{counted(document['called'], 'call')} made, {document['known']} known already"
    cost = cost_text(document["estimated_cost"])
    click.echo(f"{counted(document['lines'], 'line')}: {made}, {document['failed']} failed; {cost}")
    for error in document["errors"]:
        warn(f"line {error['line']}: {error['message']}")


def _texts(file: Path) -> list[str]:
    from cf_workers.warming import decoded, read_texts

    if str(file) == "-":
        return decoded(sys.stdin.buffer.read(), "standard input")
    return read_texts(file)


def _confirm(found: CacheStats) -> None:
    if session().json or not sys.stdin.isatty():
        raise click.UsageError("clear takes out everything; say --yes", click.get_current_context())
    question = f"Take out {counted(found.entries, 'answer')} ({_size(found.bytes)})?"
    click.confirm(question, abort=True, err=True)


def _told_removed(removed: int) -> None:
    if session().json:
        print_document({"success": True, "removed": removed})
    else:
        notice(f"took out {counted(removed, 'answer')}")


def _enabled(client: Client) -> bool:
    """Whether answers are kept, as far as settings and project of this place say."""
    context = client.context
    return context.settings.cache.enabled and (context.project_path is None or context.project.cache.enabled)


def _stats_document(found: CacheStats, *, enabled: bool) -> dict[str, Any]:
    return {"success": True, "enabled": enabled, **found.as_dict(), "saved_cost": found.saved_usd}


def _inspection_document(found: Inspection, *, content: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "key": found.key,
        "tags": dict(found.tags),
        "created_at": found.created_at,
        "fresh_until": found.fresh_until,
        "kept_until": found.kept_until,
        "age_seconds": round(found.age_seconds, 3),
        "stale": found.stale,
        "estimated_cost": usd(found.cost_nanos),
        "bytes": found.bytes,
        "document_bytes": found.document_bytes,
    }
    if content:
        document["content"] = found.document
    elif not session().json:
        document["tags"] = ", ".join(f"{name} {value}" for name, value in found.tags.items())
        document["age_seconds"] = seconds_text(found.age_seconds)
    return document


def _size(size: int) -> str:
    return f"{size / _MEBIBYTE:.1f} MB" if size >= _MEBIBYTE else f"{size / _KIBIBYTE:.1f} KB"
