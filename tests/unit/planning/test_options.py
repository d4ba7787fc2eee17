"""What a caller sets is used as it is, or refused by its name."""

import pytest

from cf_workers.errors import InputError
from cf_workers.planning import ExecutionOptions, read_options


def test_options_that_are_not_given_leave_everything_open():
    assert read_options({}) == ExecutionOptions()


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"temperature": 1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"max_retries": -1}, "max_retries"),
        ({"model": 5}, "model"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(options, wrong):
    with pytest.raises(InputError, match=wrong) as caught:
        read_options(options)

    known = (
        "model, complexity, max_tokens, timeout_seconds, max_retries, cacheable, lane, "
        "fail_fast, max_cost_usd"
    )
    assert caught.value.hint == f"options are {known}"
