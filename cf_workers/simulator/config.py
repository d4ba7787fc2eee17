"""How should the stand-in behave?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cf_workers.errors import ConfigError
from cf_workers.simulator.faults import RandomFault

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
PerMinute = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SimulatorConfig:
    """Everything one can set; frozen, and complete with its defaults: a fast server without faults or limits.

    Args:
        latency: seconds from request to the last byte of the reply; the median when `latency_sigma` is set.
        latency_sigma: sigma of the lognormal distribution of the latency; 0 means that it is fixed.
        time_to_first_token: seconds to the first byte of a stream; `None` means a quarter of the latency.
        hold: keep back every reply before its first byte, until this is taken back; then its latency begins.
        stream_chunks: text deltas of a streamed reply.
        requests_per_minute: enforced and advertised for each key and model class; `None` is neither.
        burst_seconds: how much of a minute's allowance may be used at once.
        api_key: the only accepted key; `None` accepts every key that does not contain "invalid".
        reply_tokens: length of a reply; `None` means a few natural lines.
        seed: of the latencies, the random faults and the order of batch results.
        directives: obey `[[sim …]]` in the text of a request.
        models: ids accepted besides the known ones.
        faults: faults that strike at random.
        batch_seconds: how long a message batch is processed.
        log_limit: requests remembered for `/_control/requests`; older ones are dropped and counted.
        body_bytes_limit: bytes of request bodies remembered; 0 keeps none.
    """

    latency: Seconds = 0.0
    latency_sigma: Annotated[float, Field(ge=0, le=5)] = 0.0
    time_to_first_token: Seconds | None = None
    hold: bool = False
    stream_chunks: Annotated[int, Field(ge=1, le=1000)] = 8
    requests_per_minute: PerMinute | None = None
    input_tokens_per_minute: PerMinute | None = None
    output_tokens_per_minute: PerMinute | None = None
    burst_seconds: Annotated[float, Field(gt=0, le=60)] = 60.0
    api_key: str | None = field(default=None, repr=False)
    reply_tokens: Annotated[int, Field(ge=1, le=128_000)] | None = None
    seed: int = 0
    directives: bool = False
    models: tuple[str, ...] = ()
    faults: tuple[RandomFault, ...] = ()
    batch_seconds: Seconds = 1.0
    log_limit: Annotated[int, Field(ge=1)] = 200_000
    body_bytes_limit: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024

    def changed(self, changes: Mapping[str, Any]) -> SimulatorConfig:
        """The same configuration with some fields replaced, as JSON spells them.

        Raises:
            ConfigError: a field is unknown or its value cannot be used.
        """
        return config_from({**asdict(self), **changes})

    def shown(self) -> dict[str, Any]:
        """All fields as JSON; the key is masked."""
        return {**asdict(self), "api_key": "***" if self.api_key else None}


def config_from(values: Mapping[str, Any]) -> SimulatorConfig:
    """A configuration from JSON values.

    Raises:
        ConfigError: a field is unknown or its value cannot be used.
    """
    try:
        return TypeAdapter(SimulatorConfig).validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(
            f"The simulator cannot be configured so: {problems_of(error)}",
            {"hint": f"known fields: {', '.join(SimulatorConfig.__dataclass_fields__)}"},
        ) from None


def problems_of(error: ValidationError) -> str:
    """What pydantic found, one clause each, without the values (a key may be among them)."""
    return "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
