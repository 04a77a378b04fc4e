"""Models behind Seldon Core v1's operator, with MLServer and Istio: see README.md for what is asked of the cluster."""
