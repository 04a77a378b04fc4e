"""Serving on one machine: a supervisor owns one server a version behind one Envoy, on loopback only. The server is MLServer, or,
where the model says so, its author's predictor.

Operators talk to it through `client.LocalServing`; ``tradewind serve`` runs it. All it keeps lies in one folder.
"""
