"""Which step comes after which, what is a cycle, and what is the longest path? Pure and iterative."""
