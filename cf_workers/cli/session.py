"""What do all commands have in common? `--json`, `--format`, `--config`, and help with misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import click

LANES = ("interactive", "background", "batch", "auto")
"""How a step can be asked, as `cf_workers.workflows.spec` says it, which takes time to load."""


@dataclass
class Session:
    """What the caller asked for, of whichever command.

    Args:
        json: one JSON document on standard output, and nothing else there.
        config: the project file that was named.
    """

    json: bool = False
    config: str | None = None


def session() -> Session:
    """The session of the command that is running."""
    return click.get_current_context().ensure_object(Session)


def asks_for_json(words: Sequence[str]) -> bool:
    """Whether an argument list asks for JSON, for when it is too wrong to be parsed."""
    words = words[: words.index("--")] if "--" in words else words
    pairs = zip(words, [*words[1:], ""], strict=False)
    return any(
        word in {"--json", "--format=json"} or (word, after) == ("--format", "json") for word, after in pairs
    )


def common_options() -> list[click.Option]:
    """The options that every command accepts."""
    return [
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_set_json,
            help="Print one JSON document; the same as --format json.",
        ),
        click.Option(
            ["--format"],
            type=click.Choice(["text", "json"]),
            expose_value=False,
            callback=lambda ctx, _, value: _set_json(ctx, _, value == "json"),
            hidden=True,
        ),
        click.Option(
            ["--config"],
            metavar="PATH",
            expose_value=False,
            callback=_set_config,
            help="The project's claude.json  [./.claude, then ~/.claude].",
        ),
    ]


class Verb(click.Command):
    """A command of ours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options()]


class Noun(click.Group):
    """A group of commands of ours."""

    command_class = Verb

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *common_options()]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a word that is none gets the nearest one as a suggestion.

        Raises:
            UsageError: there is no such command.
        """
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            _refuse(args[0], self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)


def _refuse(word: str, known: Sequence[str], ctx: click.Context) -> NoReturn:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"commands are {', '.join(known)}"
    raise click.UsageError(f"there is no command {word!r}; {hint}", ctx)


def _set_json(ctx: click.Context, _: Any, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).json = True


def _set_config(ctx: click.Context, _: Any, value: str | None) -> None:
    if value:
        ctx.ensure_object(Session).config = value
