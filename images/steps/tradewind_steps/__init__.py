"""Runs inside a step's process. Knows the contract, the store and the errors; knows nothing of Airflow."""
