"""The catalogue says what the SDK says, and refuses only what is gone."""

import re
import subprocess
import sys
from datetime import date, datetime, timedelta
from typing import get_args

import pytest

from cf_workers.agents.models import (
    DEFAULT_MODEL,
    KNOWN_MODELS,
    RETIRED_MODELS,
    RETIRED_UNLISTED,
    check_model,
    model_facts,
)
from cf_workers.errors import ConfigError

TODAY = date(2026, 11, 21)


def test_the_known_ids_are_those_of_the_installed_sdk():
    from anthropic.types import Model

    (literal,) = [choice for choice in get_args(Model) if get_args(choice)]

    assert set(KNOWN_MODELS) == set(get_args(literal))


def test_the_ends_are_those_of_the_installed_sdk():
    from anthropic.resources.messages.messages import DEPRECATED_MODELS

    ends = {
        id_: datetime.strptime(re.sub(r"(\d)(st|nd|rd|th),", r"\1,", day), "%B %d, %Y").date()
        for id_, day in DEPRECATED_MODELS.items()
    }

    ours = {id_: model.end_of_life for id_, model in KNOWN_MODELS.items() if model.end_of_life}
    assert {**ours, **RETIRED_MODELS} == ends
    assert not RETIRED_UNLISTED.keys() & ends.keys(), "the SDK lists it now"


def test_the_catalogue_does_not_load_the_sdk():
    code = "import sys, cf_workers.agents.models; sys.exit('anthropic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_the_default_model_is_known_and_current():
    assert DEFAULT_MODEL in KNOWN_MODELS
    assert check_model(DEFAULT_MODEL, TODAY) is None


@pytest.mark.parametrize("model_id", [*RETIRED_MODELS, *RETIRED_UNLISTED, "claude-mythos-preview"])
def test_a_retired_model_is_refused_with_current_ones_to_use(model_id):
    with pytest.raises(ConfigError, match=re.escape(model_id)) as caught:
        check_model(model_id, TODAY)

    nearest = caught.value.details["nearest"]
    assert nearest
    assert all(check_model(id_, TODAY) is None for id_ in nearest)
    assert all(id_ in caught.value.hint for id_ in nearest)


def test_the_nearest_models_are_the_newest_of_the_same_family():
    with pytest.raises(ConfigError) as caught:
        check_model("claude-opus-4-0", TODAY)

    assert caught.value.details["nearest"] == ["claude-opus-5-5", "claude-opus-5", "claude-opus-4-8"]


@pytest.mark.parametrize(("days", "warns"), [(61, False), (60, True), (9, True), (1, True)])
def test_a_model_is_warned_about_in_its_last_sixty_days(days, warns):
    warning = check_model("claude-sonnet-4-5-20250929", date(2026, 11, 30) - timedelta(days=days))

    assert (warning is not None) == warns
    if warning:
        assert f"in {days} day" in warning
        assert "2026-11-30" in warning
        assert "claude-sonnet-5-5" in warning


def test_a_model_is_refused_from_its_last_day_on():
    with pytest.raises(ConfigError, match="retired on 2026-11-30"):
        check_model("claude-sonnet-4-5", date(2026, 11, 30))


@pytest.mark.parametrize("model_id", ["claude-sonnet-7", "my-proxy/model", "eu.anthropic.claude", "gpt"])
def test_unknown_models_pass(model_id):
    check_model(model_id, TODAY)


@pytest.mark.parametrize("model_id", ["claude-sonet-5-5", "claude-sonnet-55", "Claude-Sonnet-5-5"])
def test_a_misspelt_model_is_warned_about(model_id):
    assert "did you mean 'claude-sonnet-5-5'?" in check_model(model_id, TODAY)


def test_a_dated_snapshot_has_the_facts_of_its_model():
    assert check_model("claude-opus-5-5-20260922", TODAY) is None
    assert model_facts("claude-opus-5-5-20260922").min_cacheable_tokens == 512


@pytest.mark.parametrize("model_id", ["", "  "])
def test_an_empty_id_is_refused(model_id):
    with pytest.raises(ConfigError, match="empty"):
        check_model(model_id, TODAY)


def test_models_that_share_rate_limits_share_a_class():
    def class_of(name):
        return model_facts(f"claude-{name}").limit_class

    assert len({class_of(f"opus-4-{n}") for n in (5, 6, 7, 8)}) == 1
    assert class_of("sonnet-4-5") == class_of("sonnet-4-6")
    assert class_of("fable-5") == class_of("fable-5-1")
    apart = ["opus-4-8", "opus-5", "opus-5-5", "sonnet-4-6", "sonnet-5", "sonnet-5-5", "fable-5", "mythos-5"]
    assert len({class_of(name) for name in apart}) == len(apart)
    assert class_of("new") == "claude-new"
