"""The engine: from a dependency graph to groups and chords, and the record of a run. It knows no model."""
