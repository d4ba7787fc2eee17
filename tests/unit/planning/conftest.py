"""Settings as they are when nobody has set any."""

import pytest

from cf_workers.settings import load_settings


@pytest.fixture
def settings():
    return load_settings(environ={})
