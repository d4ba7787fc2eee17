"""Which models does the stand-in know?"""

from typing import get_args

from anthropic.types import Model as SdkModel

from cf_workers.simulator.models import catalogue


def test_the_catalogue_lists_the_models_of_the_installed_sdk():
    listed = {name for part in get_args(SdkModel) for name in get_args(part)}

    assert set(catalogue()) == listed


def test_a_minimum_that_no_source_states_is_marked_as_assumed():
    assumed = {name for name, model in catalogue().items() if model.assumed}

    assert assumed == {"claude-sonnet-5-5", "claude-fable-5-2", "claude-mythos-5-2"}
