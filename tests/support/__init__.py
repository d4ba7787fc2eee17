"""What tests share: waiting, servers, processes, and the check for leaked keys."""

from tests.support.environ import clean_environ
from tests.support.processes import Child, Processes
from tests.support.servers import Store
from tests.support.waiting import eventually

__all__ = ["Child", "Processes", "Store", "clean_environ", "eventually"]
