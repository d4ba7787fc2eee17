"""What do the documents tell a reader to type?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from cf_workers.cli.program import program
from cf_workers.cli.session import Session
from tests.support.environ import ROOT

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "examples" / "README.md",
        *(page for page in DOCS.rglob("*.md") if REFERENCE not in page.parents),
    ]
)
_FENCE = re.compile(r"^```(\w+)[ \t]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:cf-workers|cfw) [^`\n]+)`")
_EXIT = re.compile(r"#\s*exit (\d+)\s*$")
_OWN = re.compile(r"(?:^|[\s(])((?:cf-workers|cfw) .*)$", re.MULTILINE)
_END = re.compile(r"[;&<>)]| [#|]")
WRONG_USAGE = 2


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line it begins at."""

    page: Path
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a `console` block, and the lines that are shown under it."""

    text: str
    code: int
    shown: list[str] = field(default_factory=list)


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
        if found[1] == language
    ]


def commands(block: Block) -> list[Command]:
    """`$ ` begins a command, `> ` continues it, all else is what it prints; `# exit 2` says how it ends."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            code = _EXIT.search(line)
            found.append(Command(line[2:], int(code[1]) if code else 0))
        elif line.startswith("> "):
            last = found.pop()
            found.append(Command(f"{last.text}\n{line[2:]}", last.code))
        elif line.strip():
            found[-1].shown.append(line)
    return found


def missing(command: Command, printed: str) -> list[str]:
    """The lines that are shown and were not printed, in that order; `…` stands for anything."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    absent = []
    for wanted in command.shown:
        parts = (re.escape(" ".join(part.split())) for part in wanted.split("…"))
        pattern = re.compile(r"\s*.*\s*".join(parts).strip())
        if not any(pattern.fullmatch(line) for line in lines):
            absent.append(wanted)
    return absent


def script_lines(block: Block) -> list[str]:
    """The commands of a `bash` block, without comments."""
    joined = block.text.replace("\\\n", " ")
    return [
        line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


def own_commands(page: Path) -> Iterator[str]:
    """Every `cf-workers …` that the page names, in blocks and in the text, but for wrong ones on purpose."""
    for block in blocks(page, "console"):
        typed = (one.text for one in commands(block) if one.code != WRONG_USAGE)
        yield from (found[1] for line in typed for found in _OWN.finditer(line))
    for block in blocks(page, "bash"):
        yield from (found[1] for line in script_lines(block) for found in _OWN.finditer(line.split(" #")[0]))
    yield from _INLINE.findall(page.read_text(encoding="utf-8"))


def parse(command: str) -> None:
    """Raise what the command line would say of it: a word or an option that it does not know."""
    words = shlex.split(_END.split(command)[0])[1:]
    _walk(program, "cf-workers", [word for word in words if word != "…"], None)


def _walk(command: click.Command, name: str, words: list[str], parent: click.Context | None) -> None:
    context = click.Context(command, info_name=name, parent=parent, obj=Session())
    if not isinstance(command, click.Group):
        command.make_parser(context).parse_args(words)
        return
    _, rest, _ = command.make_parser(context).parse_args(words)
    if not rest:
        return
    alternatives = rest[0].split("|")
    for word in alternatives:
        found, sub, more = command.resolve_command(context, [word, *rest[1:]])
        assert sub is not None, command
        _walk(sub, str(found), more, context)
