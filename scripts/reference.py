"""Writes docs/reference/*.md from the code: commands, settings, project file, tasks, metrics, errors, keys.

Usage: python scripts/reference.py [--check]
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cf_workers import batches, budgets, cache, errors, prefixes, resilience, wire
from cf_workers._redis import keys
from cf_workers.cli.program import COMMANDS, program
from cf_workers.project import schema
from cf_workers.reliability import ReliabilityPolicy
from cf_workers.settings import PREFIX, Settings
from cf_workers.workflows.liveness import LivenessPolicy
from cf_workers.workflows.reconciler import ReconcilerPolicy
from cf_workers.workflows.steps import RecordPolicy

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
WRITTEN = "<!-- Written by scripts/reference.py from the code. Do not edit. -->\n\n"
WIDTH = 100

POLICIES: Mapping[str, tuple[type, ...]] = {
    "worker": (RecordPolicy, LivenessPolicy, ReliabilityPolicy),
    "runs": (RecordPolicy, ReconcilerPolicy),
    "breaker": (resilience.BreakerPolicy,),
    "limits": (resilience.LimitsPolicy, resilience.FairnessPolicy),
    "cache": (cache.CachePolicy,),
    "prompt_cache": (prefixes.WarmingPolicy,),
    "batches": (batches.BatchPolicy,),
    "budgets": (budgets.BudgetPolicy,),
}
"""What the settings of a section become; there they are explained, unless the section does so itself."""


def main(words: list[str]) -> int:
    """Write the pages, or with `--check` say which of them are not current."""
    pages = {name: WRITTEN + make() for name, make in PAGES.items()}
    if "--check" in words:
        stale = [name for name, text in pages.items() if _committed(name) != text]
        print(
            "".join(f"docs/reference/{name}.md is not current: run scripts/reference.py\n" for name in stale)
        )
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
    return 0


def commands() -> str:
    """Every command with its help."""
    parts = [
        "# Commands\n",
        "`cf-workers`, or `cfw` for short. Exit codes: 0 done; 1 it ran and failed; 2 wrong usage, configuration or "
        "input (nothing was enqueued); 3 a server or worker cannot be reached; 130 interrupted. Every command "
        "accepts `--json`, `--config PATH` and `--help`.\n",
        _table(
            ("command", "does"),
            ((f"[`{name}`](#cf-workers-{name})", says) for name, (_, says) in COMMANDS.items()),
        ),
    ]
    root = click.Context(program, info_name="cf-workers", max_content_width=WIDTH, terminal_width=WIDTH)
    for name in COMMANDS:
        command = program.get_command(root, name)
        assert command is not None, name
        parts += _help(command, click.Context(command, info_name=name, parent=root, terminal_width=WIDTH), 2)
    parts.append(
        "## Celery's own\n\n`celery -A cf_workers worker`, `beat`, `flower` and `inspect …` work with no further flags. "
        "`-P threads` and no `-P` start our pool of threads, `-P processes` one of processes.\n"
    )
    return "\n".join(parts)


def _help(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {context.command_path}\n"
    common = {"--json", "--config", "--help"}
    text = inspect.cleandoc(command.help or "").replace("\b", "")
    yield f"{text}\n"
    arguments = [one.make_metavar(context) for one in command.params if isinstance(one, click.Argument)]
    if arguments:
        yield f"    {context.command_path} {' '.join(arguments)}\n"
    rows = [record for one in command.get_params(context) if (record := _option(one, context, common))]
    if rows:
        yield _table(("option", "means"), rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None, name
            yield from _help(
                sub, click.Context(sub, info_name=name, parent=context, terminal_width=WIDTH), depth + 1
            )


def _option(one: click.Parameter, context: click.Context, common: set[str]) -> tuple[str, str] | None:
    if not isinstance(one, click.Option) or common & {*one.opts}:
        return None
    record = one.get_help_record(context)
    return None if record is None else (f"`{record[0]}`", " ".join(record[1].split()))


def settings() -> str:
    """Every setting with its variable, default and meaning."""
    parts = [
        "# Settings\n",
        f"Each is a variable in the environment, `{PREFIX}<FIELD>` or `{PREFIX}<SECTION>__<FIELD>`. A flag of a "
        "command beats the environment, that the project file, that the default. `cf-workers config show` prints "
        "what is in force, and where it comes from.\n",
    ]
    single = {name: found for name, found in Settings.model_fields.items() if not _section(found)}
    parts.append(_settings_table(PREFIX, single, _explained(Settings)))
    for name, found in Settings.model_fields.items():
        section = _section(found)
        if section is None:
            continue
        known: dict[str, str] = {}
        for source in (*POLICIES.get(name, ()), section):
            known |= _explained(source)
        says = inspect.getdoc(section) or ""
        parts.append(f"## {name}\n\n{says.split('Args:')[0].strip()}\n")
        parts.append(_settings_table(f"{PREFIX}{name.upper()}__", section.model_fields, known))
    parts.append(
        "## Others\n\n"
        + _table(
            ("variable", "means"),
            (
                (
                    "`REDIS_URL`, `CELERY_BROKER_URL`",
                    f"fall-backs for `{PREFIX}REDIS_URL` and `{PREFIX}BROKER_URL`",
                ),
                (
                    "`ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL`",
                    "credential and address of the API, and the SDK's others",
                ),
                ("`CLAUDE_CACHE_SECRET`", "signs cached answers; the same on every host"),
                ("`CLAUDE_ENV`", "`production`: nothing is cached without a secret"),
                ("`FLOWER_*`", "Flower's options; ours are only defaults"),
            ),
        )
    )
    return "\n".join(parts)


def _section(found: FieldInfo) -> type[BaseModel] | None:
    kind = found.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _settings_table(prefix: str, found: Mapping[str, FieldInfo], known: Mapping[str, str]) -> str:
    missing = [name for name in found if name not in known]
    if missing:
        raise SystemExit(f"explain in the docstring of settings or policy: {prefix} {', '.join(missing)}")
    rows = ((f"`{prefix}{name.upper()}`", _default(one), known[name]) for name, one in found.items())
    return _table(("variable", "default", "means"), rows)


def _default(found: FieldInfo) -> str:
    value = found.get_default()
    return (
        "-"
        if value in (None, "", (), {})
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


def _explained(source: type) -> dict[str, str]:
    """What the section `Args` of a docstring says of each name."""
    text = inspect.getdoc(source) or ""
    found: dict[str, str] = {}
    name = None
    for line in text.partition("Args:\n")[2].splitlines():
        begins = re.match(r"    (\w[\w, ]*): (.*)", line)
        if begins:
            name = begins[1]
            found[name] = begins[2]
        elif name and line.startswith("     "):
            found[name] += f" {line.strip()}"
    return {one.strip(): says for names, says in found.items() for one in names.split(",")}


def project() -> str:
    """Every key of the project file, from its JSON Schema."""
    document = schema.project_schema()
    parts = [
        "# Project file\n",
        "`.claude/claude.json`. Every key may be left out, and `null` counts as left out. `cf-workers config schema` "
        "prints the JSON Schema from which this page is made.\n",
    ]
    for title, found in _objects(document):
        rows = (
            (f"`{name}`", _kind(one, document), _bounds(one), one.get("description", ""))
            for name, one in found.items()
        )
        parts.append(f"## {title}\n\n{_table(('key', 'type', 'default', 'means'), rows)}")
    return "\n".join(parts)


def _objects(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "claude.json", document["properties"]
    named = {**document.get("definitions", {}), **document["properties"]}
    for title, one in named.items():
        for found in (one, *one.get("anyOf", ()), *one.get("oneOf", ())):
            if found.get("properties"):
                yield title, found["properties"]
                break


def _kind(one: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    if "$ref" in one:
        return str(one["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf"):
        if several in one:
            kinds = [_kind(kind, document) for kind in one[several] if kind.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"] if value is not None)
    kind = one.get("type", "any")
    kinds = [kind] if isinstance(kind, str) else [word for word in kind if word != "null"]
    return " or ".join(kinds)


def _bounds(one: Mapping[str, Any]) -> str:
    value = one.get("default")
    return "-" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def tasks() -> str:
    """The names of tasks and queues, which are fixed."""
    says = {
        wire.RUN_AGENT: "one agent, an ordinary task with an ordinary result, for canvases of your own",
        wire.EXECUTE_STEP: "one step of a run; its state is in the run's record",
        wire.FINISH_RUN: "the end of a run; its task id is the run's, so `AsyncResult(run_id).get()` returns then",
        wire.POLL_BATCHES: "looks after message batches",
        wire.WARM_CACHE: "has the calls of a file answered before anybody asks",
    }
    named = {
        value for name, value in vars(wire).items() if name.isupper() and str(value).startswith("cf_workers.")
    }
    if named != says.keys():
        raise SystemExit(f"explain these tasks: {named ^ says.keys()}")
    return "\n".join(
        [
            "# Tasks and queues\n",
            "The names are fixed. What identifies an execution (agent, run, step, never a prompt) is in the arguments' "
            "representation, as Flower and the log show it.\n",
            _table(("task", "is"), ((f"`{name}`", text) for name, text in says.items())),
            "## Queues\n",
            _table(
                ("queue", "holds"),
                (
                    (f"`{wire.CONTROL}`", "ends of runs, polls: milliseconds each"),
                    (f"`{wire.INTERACTIVE}`", "steps and executions, unless told otherwise"),
                    (f"`{wire.BATCH}`", "steps of the lanes `background` and `batch`"),
                ),
            ),
        ]
    )


def metrics() -> str:
    """Every metric that a worker answers with, read from the calls that make them."""
    rows = sorted(
        {row for file in sorted((ROOT / "cf_workers" / "metrics").glob("*.py")) for row in _metrics(file)}
    )
    return "\n".join(
        [
            "# Metrics\n",
            "A worker with `CF_WORKERS_HEALTH__PORT` answers on `/metrics`, in the format of Prometheus; Flower "
            "tells those of the fleet, all but `cf_workers_worker_…`, beside its own at its `/metrics`. Gauges of the fleet "
            "are the same from every worker: take the maximum, not the sum.\n",
            _table(("metric", "type", "labels", "means"), rows),
        ]
    )


def _metrics(file: Path) -> Iterator[tuple[str, str, str, str]]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assigned = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            yield from _looped(node, assigned)
        kind = _METRICS.get(_called(node))
        if kind is None or not isinstance(node, ast.Call) or len(node.args) < 2:  # noqa: PLR2004
            continue
        name, says = (_text(part, assigned) for part in node.args[:2])
        if name and says:
            yield _metric(name, kind, _labels(node, assigned), says)


def _looped(loop: ast.For, assigned: Mapping[str, ast.expr]) -> Iterator[tuple[str, str, str, str]]:
    """Families that are made in a loop over their names and texts."""
    calls = [node for node in ast.walk(loop) if isinstance(node, ast.Call) and _called(node) in _METRICS]
    if not calls or not isinstance(loop.target, ast.Tuple):
        return
    places = [target.id for target in loop.target.elts if isinstance(target, ast.Name)]
    assert isinstance(loop.iter, ast.Tuple)
    for row in loop.iter.elts:
        if isinstance(row, ast.Tuple):
            told = {place: _text(part, {}) for place, part in zip(places, row.elts, strict=False)}
            for call in calls:
                name, says = (
                    told.get(part.id) if isinstance(part, ast.Name) else None for part in call.args[:2]
                )
                if name and says:
                    yield _metric(name, _METRICS[_called(call)], _labels(call, assigned), says)


_METRICS = {
    "gauge": "gauge",
    "gauges": "gauge",
    "counter": "counter",
    "counters": "counter",
    "Gauge": "gauge",
    "Counter": "counter",
    "Histogram": "histogram",
}


def _metric(name: str, kind: str, labels: str, says: str) -> tuple[str, str, str, str]:
    full = name if name.startswith("cf_workers_") else f"cf_workers_{name}"
    return (
        f"`{full}{'_total' if kind == 'counter' and not full.endswith('_total') else ''}`",
        kind,
        labels,
        says,
    )


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _text(node: ast.AST, assigned: Mapping[str, ast.expr]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name) and node.id in assigned:
        return _text(assigned[node.id], {})
    return None


def _labels(call: ast.Call, assigned: Mapping[str, ast.expr]) -> str:
    """The names of the labels, which come third."""
    found = _words(call.args[2], assigned) if len(call.args) > 2 else []  # noqa: PLR2004
    return ", ".join(f"`{word}`" for word in found) or "-"


def _words(node: ast.expr, assigned: Mapping[str, ast.expr]) -> list[str]:
    if isinstance(node, ast.Starred):
        return _words(node.value, assigned)
    if isinstance(node, ast.Name) and node.id in assigned:
        return _words(assigned[node.id], assigned)
    if isinstance(node, ast.List | ast.Tuple):
        return [word for one in node.elts for word in _words(one, assigned)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def all_errors() -> str:
    """Every error, what it means and how the command line ends with it."""
    found = [
        one
        for one in vars(errors).values()
        if inspect.isclass(one) and issubclass(one, errors.CfWorkersError)
    ]
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\nAll of them")[0]
    rows = (
        (f"`{one.__name__}`", str(one.exit_code), inspect.cleandoc(one.__doc__ or "").partition("\n\n")[0])
        for one in found
    )
    return "\n".join(
        [
            "# Errors\n",
            "All are in `cf_workers.errors`, carry a `message`, JSON `details` and mostly a `hint`, and survive the "
            "broker as themselves. What to do about each: [Troubleshooting](../troubleshooting.md#errors).\n",
            f"```text\n{inspect.cleandoc(tree)}\n```\n",
            _table(("error", "exit code", "means"), rows),
        ]
    )


def redis_keys() -> str:
    """Every key in Redis, as its declaration tells it."""
    text = inspect.cleandoc(keys.__doc__ or "")
    first, _, rest = text.partition("\n\n")
    body = re.sub(
        r"(?m)((?:^    .*\n?|^\n(?=    ))+)", lambda block: f"```text\n{_dedented(block[1])}\n```\n", rest
    )
    return f"# Redis keys\n\n{first}\n\n{body.rstrip()}\n"


def _dedented(block: str) -> str:
    return inspect.cleandoc(block).rstrip()


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(header)
    lines = [titles, ["---"] * len(titles), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _committed(name: str) -> str | None:
    file = FOLDER / f"{name}.md"
    return file.read_text(encoding="utf-8") if file.is_file() else None


PAGES: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "project": project,
    "tasks": tasks,
    "metrics": metrics,
    "errors": all_errors,
    "keys": redis_keys,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
