"""Runs a step as a pod, through Airflow's KubernetesPodOperator: durable, deferrable.

What this adds to that operator: the result by manifest, each line of output once, waiting with a reason in words, and what
to do with a pod that ended otherwise (`tradewind.runtimes.kubernetes.diagnosis`).
"""

from tradewind.runtimes.kubernetes.runtime import KubernetesRuntime

__all__ = ["KubernetesRuntime"]
