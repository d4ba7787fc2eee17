"""Guards that stand alone: how long to wait before another attempt."""
