"""The agent side: what is asked of the model, and what comes back. Knows no graph, no Celery, no Redis."""
