"""``python -m seldon_standin NAMESPACE``: on the cluster that KUBECONFIG names, until it is ended."""

from .reconciler import main

main()
