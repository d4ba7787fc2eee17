"""What do all commands have in common? `--json`, `--format`, `--config`, and help with misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import click

LANES = ("interactive", "background", "batch", "auto")
"""How a step can be asked, as `cf_workers.workflows.spec` says it, which takes time to load."""


_WHOLE_SENTENCE = 200
"""Characters; click's own bound of 45 breaks sentences off."""


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


class Count(click.IntRange):
    """A whole number between bounds, called so in errors; click calls it an integer range."""

    name = "whole number"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        return "NUMBER"


class Amount(click.FloatRange):
    """A number between bounds, called so in errors; click calls it a float range."""

    name = "number"


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the whole first sentence of each."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, one.get_short_help_str(_WHOLE_SENTENCE)) for name, one in found if one is not None]
            )

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
    near = ["--help"] if word == "help" else difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"commands are {', '.join(known)}"
    raise click.UsageError(f"there is no command {word!r}; {hint}", ctx)


def _set_json(ctx: click.Context, _: Any, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).json = True


def _set_config(ctx: click.Context, _: Any, value: str | None) -> None:
    if value:
        ctx.ensure_object(Session).config = value
