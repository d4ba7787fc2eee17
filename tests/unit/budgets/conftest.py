import pytest

from cf_workers._redis import Keys
from cf_workers.budgets import BudgetPolicy, Ledger
from tests.support.engine import fake_client
from tests.support.keys import assert_nothing_leaked
from tests.support.time import scripted_server_time


@pytest.fixture
def server_time(monkeypatch):
    return scripted_server_time(monkeypatch)


@pytest.fixture
def client(request):
    with fake_client() as made:
        yield made
        assert_nothing_leaked(made, request.module)


@pytest.fixture
def ledger(client):
    return Ledger(client, Keys(), BudgetPolicy(lease_seconds=8, known_seconds=0))
