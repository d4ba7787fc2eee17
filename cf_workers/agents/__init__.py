"""The agent side: what is asked of the model, and what comes back. It knows no graph, no Celery and no Redis."""
