"""`python -m cf_workers` is `cf-workers`."""

from cf_workers.cli import main

main()
