"""A search for hyperparameters as plain data: what may be tried, what came of it, which is the best. Standard library only: a
Dag file, a task and a step's process read the same."""
