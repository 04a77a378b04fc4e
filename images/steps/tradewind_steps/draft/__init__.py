"""Draft: a table never seen before -> what a pipeline has to know of it, and a suite of expectations to begin with.

Runs as ``python -m tradewind_steps.draft FILE TARGET`` in the data image's environment; nothing of it takes part in a run.
What it says of a column holds for the rows of today: a person reads it before the rows of tomorrow come.
"""
