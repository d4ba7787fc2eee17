"""`python -m cf_workers.simulator`: serve the stand-in in the foreground."""

from cf_workers.simulator.command import simulate_api

simulate_api(prog_name="python -m cf_workers.simulator")
