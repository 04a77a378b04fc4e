"""Measured claims: each benchmark times the pack beside a reference, in turns, in one run."""
