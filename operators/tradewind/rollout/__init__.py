"""How a target gets from one model version to another."""
