"""Tradewind: end-to-end machine learning on Airflow.

Importing this package imports nothing else: a step's environment has no Airflow.
"""

__version__ = "0.1.0"
