"""Serving on one machine: a supervisor owns one MLServer a version behind one Envoy, on loopback only.

Operators talk to it through `client.LocalServing`; ``tradewind serve`` runs it. All it keeps lies in one folder.
"""
