"""How is the stand-in configured?"""

import pytest

from cf_workers.errors import ConfigError
from cf_workers.simulator.config import SimulatorConfig, config_from
from cf_workers.simulator.faults import Fault
from cf_workers.simulator.state import SimulatorState
from tests.unit.simulator.clock import ScriptedClock


def test_fields_are_changed_one_by_one():
    config = SimulatorConfig(latency=1, seed=7).changed(
        {"latency": 2, "faults": [{"fault": "529", "rate": 0.5}]}
    )

    assert (config.latency, config.seed) == (2.0, 7)
    assert config.faults[0].fault == Fault(status=529)


@pytest.mark.parametrize(
    "values",
    [{"latencey": 1}, {"latency": -1}, {"requests_per_minute": 0}, {"faults": [{"fault": "529", "rate": 2}]}],
    ids=str,
)
def test_a_configuration_that_cannot_be_used_is_refused_by_field(values):
    with pytest.raises(ConfigError, match=next(iter(values))) as caught:
        config_from(values)

    assert "latency_sigma" in (caught.value.hint or "")


def test_a_refusal_never_quotes_the_key():
    with pytest.raises(ConfigError) as caught:
        config_from({"api_key": ["sk-secret"]})

    assert "sk-secret" not in str(caught.value)


def test_a_key_is_never_shown():
    config = SimulatorConfig(api_key="sk-secret")

    assert "sk-secret" not in repr(config)
    assert "sk-secret" not in str(config.shown())


def test_latencies_spread_around_their_median_and_repeat_with_their_seed():
    def drawn(seed: int) -> list[float]:
        state = SimulatorState(ScriptedClock(), SimulatorConfig(latency=2.0, latency_sigma=0.5, seed=seed))
        return sorted(state.latency() for _ in range(1001))

    assert drawn(1) == drawn(1) != drawn(2)
    assert 1.8 < drawn(1)[500] < 2.2
    assert drawn(1)[0] < 1
    assert drawn(1)[-1] > 4


def test_a_latency_without_sigma_is_fixed():
    assert SimulatorState(ScriptedClock(), SimulatorConfig(latency=2.0)).latency() == 2.0
