"""What is wrong with a project, where, and what can its author do?"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cf_workers.errors import ProjectError

NAME_PATTERN = re.compile(r"[A-Za-z0-9_-]+")
NAME_RULE = "use letters, digits, '-' and '_' only"

_SHOWN_IN_MESSAGE = 20
_SUGGESTED_PER_REPORT = 20
_CANDIDATES_COMPARED = 1_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and the place to mend it.

    Args:
        file: the project file; `None` for a definition that came from no file.
        place: a path in the JSON document, like `workflows.build.steps[2].dependencies[0]`.
        line: where that is in the file, counted from 1.
    """

    file: str | None
    place: str
    message: str
    hint: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        if self.line is not None:
            text = f"line {self.line}: {text}"
        return f"{text} ({self.hint})" if self.hint else text

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Report:
    """Collects the problems found while reading one definition."""

    file: str | None = None
    problems: list[Problem] = field(default_factory=list)
    _suggested: int = 0

    def add(self, place: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(self.file, place, message, hint))

    def add_unknown(self, place: str, message: str, name: str, known: Sequence[str]) -> None:
        """Report a name that is not among the known ones, with the nearest of them as the hint."""
        self._suggested += 1
        suggestion = did_you_mean(name, known) if self._suggested <= _SUGGESTED_PER_REPORT else None
        self.add(place, message, suggestion)


def is_name(value: str) -> bool:
    """Whether the whole string can be the name of an agent or the id of a step."""
    return NAME_PATTERN.fullmatch(value) is not None


def at(place: str, key: str | int) -> str:
    """The place of a member: `steps[2]`, `agents.python-expert`, `agents["odd name"]`."""
    if isinstance(key, int):
        return f"{place}[{key}]"
    if not is_name(key):
        return f"{place}[{printable(json.dumps(key, ensure_ascii=False))}]"
    return f"{place}.{key}" if place else key


def printable(text: str) -> str:
    """The text with lone surrogates, which no terminal and no store accepts, written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def within(place: str, owner: str) -> bool:
    """Whether a place is the owner's or lies inside it."""
    return place == owner or place.startswith((f"{owner}.", f"{owner}["))


def nearest(name: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The known name most like this one, if any is; of very many only some of similar length are compared."""
    similar = [candidate for candidate in known if abs(len(candidate) - len(name)) <= max(3, len(name) // 2)]
    found = difflib.get_close_matches(name, similar[:_CANDIDATES_COMPARED], n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(name: str, known: Sequence[str]) -> str | None:
    found = nearest(name, known)
    return f"did you mean {found!r}?" if found else None


def known_names(name: str, known: Sequence[str], empty: str) -> str:
    """A hint for a name that is unknown: the nearest one, else what there is to choose from."""
    if not known:
        return empty
    shown = ", ".join(known[:_SHOWN_IN_MESSAGE])
    more = f" and {len(known) - _SHOWN_IN_MESSAGE} more" if len(known) > _SHOWN_IN_MESSAGE else ""
    return did_you_mean(name, known) or f"known are {shown}{more}"


def project_error(what: str, problems: Iterable[Problem]) -> ProjectError:
    """One error that names all problems of `what`; programs find every one of them in its details."""
    found = list(problems)
    lines = [f"  {problem}" for problem in found[:_SHOWN_IN_MESSAGE]]
    if len(found) > _SHOWN_IN_MESSAGE:
        lines.append(f"  and {len(found) - _SHOWN_IN_MESSAGE} more")
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    file = next((problem.file for problem in found if problem.file), None)
    message = "\n".join([f"{what} cannot be used, {count}{f' in {file}' if file else ''}:", *lines])
    hint = "mend what is listed and try again; `cf-workers config validate` lists all problems of the project"
    return ProjectError(message, {"hint": hint, "problems": [problem.as_dict() for problem in found]})
