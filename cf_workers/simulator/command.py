"""How does one start the stand-in from a command line?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cf_workers.errors import CfWorkersError, ConfigError
from cf_workers.simulator.config import SimulatorConfig, config_from
from cf_workers.simulator.server import serve

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option("--port", default=0, show_default=True, help="Port to listen on; 0 takes a free one."),
    click.option(
        "--url-file", type=click.Path(path_type=Path), help="Write the URL to this file when ready."
    ),
    click.option(
        "--latency", default=0.0, show_default=True, help="Seconds a reply takes; the median with a sigma."
    ),
    click.option(
        "--latency-sigma", default=0.0, show_default=True, help="Sigma of a lognormal latency; 0 is fixed."
    ),
    click.option("--time-to-first-token", type=float, help="Seconds to a stream's first byte [latency / 4]."),
    click.option("--requests-per-minute", type=int, help="Enforce and advertise this limit."),
    click.option("--input-tokens-per-minute", type=int, help="Enforce and advertise this limit."),
    click.option("--output-tokens-per-minute", type=int, help="Enforce and advertise this limit."),
    click.option(
        "--burst-seconds", default=60.0, show_default=True, help="Share of a minute usable at once."
    ),
    click.option("--api-key", envvar="CF_WORKERS_SIMULATOR_API_KEY", help="The only accepted key [any]."),
    click.option("--reply-tokens", type=int, help="Length of the replies [a few lines]."),
    click.option("--batch-seconds", default=1.0, show_default=True, help="How long a message batch takes."),
    click.option("--seed", default=0, show_default=True, help="Of latencies, random faults and orders."),
    click.option(
        "--directives/--no-directives", default=False, help="Obey [[sim ...]] in the text of requests."
    ),
    click.option("--model", "models", multiple=True, help="Accept this model id as well; may be repeated."),
    click.option(
        "--fault", "faults", multiple=True, metavar="NAME=RATE", help="Random fault, such as 529=0.05."
    ),
    click.option("--log-limit", default=200_000, show_default=True, help="Requests remembered."),
)


def simulator_options(command: F) -> F:
    """Give a click command the options of `run`, under the same names."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def _say(url: str) -> None:
    click.echo(f"SIMULATED Anthropic API (no model is asked, nothing is paid) at {url}")


def run(
    *,
    host: str,
    port: int,
    url_file: Path | None,
    faults: tuple[str, ...],
    say: Callable[[str], object] = _say,
    **settings: Any,
) -> None:
    """Serve in the foreground as these options say, and announce where.

    Args:
        say: told the URL when it serves.

    Raises:
        ConfigError: an option has a value that cannot be used.
        UnreachableError: the address cannot be listened on.
    """
    config = _config(faults, settings)

    def announce(url: str) -> None:
        say(url)
        if url_file is not None:
            draft = url_file.with_name(f"{url_file.name}.part")
            draft.write_text(f"{url}\n", "utf-8")
            os.replace(draft, url_file)

    serve(config, host, port, announce)


@click.command("simulate-api")
@simulator_options
def simulate_api(**options: Any) -> None:
    """Serve a local stand-in for the Anthropic Messages API."""
    try:
        run(**options)
    except CfWorkersError as error:
        click.echo(f"{error}{f' ({error.hint})' if error.hint else ''}", err=True)
        raise SystemExit(error.exit_code) from None


def _config(faults: tuple[str, ...], settings: dict[str, Any]) -> SimulatorConfig:
    chances = []
    for spelling in faults:
        name, _, rate = spelling.partition("=")
        try:
            chances.append({"fault": name, "rate": float(rate)})
        except ValueError:
            raise ConfigError(
                f"--fault {spelling!r} is not NAME=RATE", {"hint": "for example 529=0.05"}
            ) from None
    return config_from({**settings, "faults": chances})
