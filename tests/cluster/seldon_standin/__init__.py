"""A stand-in for Seldon Core's operator, for tests only: it is not Seldon's, and no package registry has that one.

It makes of a SeldonDeployment with MLServer predictors and without executor what operator 1.17.1 was seen to make on Istio,
in the same order and with the same quirks; `test_seldon_standin.py` holds it against a recording of that one:

- the status says of which state it is, never of which generation;
- the VirtualService changes only while every predictor is ready; then it is put back within half a second whoever changed it,
  and else left alone;
- right after it has changed a Deployment it takes that one's status for today's: where it was ready, routes are written at once;
- where no port is called ``metrics``, the port counts up across predictors: one less renumbers, and so restarts, the others;
- a removed predictor's Deployment is deleted in the foreground: it is there until its pods are gone, and a new one of the same
  name waits for that. Only Deployments that the status knows are deleted, and it knows those that once had a pod;
- DestinationRules of removed predictors stay.
"""
