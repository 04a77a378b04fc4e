.PHONY: demo help test test-long test-cluster test-node test-seldon test-ui test-torch screenshots lint bench bench-cluster bench-rollout bench-sweep images lock setup

demo: setup        ## the whole chain on this machine; ARGS="--exit --json FILE" ends by itself
	.venv/bin/tradewind demo $(ARGS)

help:              ## what each target does
	@sed -n 's/^\([a-z-]*\):[^#]*## */\1	/p' $(MAKEFILE_LIST) | expand -t 16

test: setup lint   ## lint and the tests, in two processes; ARGS="-k name" for some, ARGS="-n 0" in one
	.venv/bin/pytest -n 2 $(ARGS)

test-long: setup   ## stories of minutes: every template's copy runs, the demo and Airflow are killed midway, a backfill
	.venv/bin/pytest -n 2 -m long $(ARGS)

test-cluster: setup  ## steps as pods and their faults, the chart, S3, PostgreSQL: KUBECONFIG names the cluster, its nodes have the images (`make images`)
	.venv/bin/pytest -n 2 -m "cluster and not node" $(ARGS)

test-node: setup    ## trainings that lose their node: it takes the node from all that runs there, so a cluster for tests only
	.venv/bin/pytest -m node $(ARGS)

test-seldon: setup   ## models on Kubernetes, Istio and a stand-in for Seldon's operator; SELDON=real: without the stand-in
	.venv/bin/pytest -m seldon $(ARGS)

test-ui: setup     ## the pages in a browser: Debian's chromium, or Chrome
	.venv/bin/pytest -m ui $(ARGS)

screenshots: setup  ## the README's pictures, from the same tests
	TRADEWIND_SCREENSHOTS=$(CURDIR)/docs .venv/bin/pytest -m ui $(ARGS)

test-torch: setup  ## the tests that need PyTorch: its environment is 6.4 GB, which are 2.7 GB to download
	.venv/bin/pytest -m torch $(ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup       ## the claims of the README, measured beside their references; writes build/bench.json
	.venv/bin/python -m benchmarks $(ARGS)

bench-cluster: setup  ## what a step costs as a pod (KUBECONFIG as for test-cluster), and a thousand that wait (for kwok); writes build/bench-cluster.json
	.venv/bin/python -m benchmarks pods waiting --json build/bench-cluster.json $(ARGS)

bench-rollout: setup  ## the canary's statistics and what the split costs; writes build/bench-rollout.json
	.venv/bin/python -m benchmarks rollout --json build/bench-rollout.json $(ARGS)

bench-sweep: setup  ## what a sweep's trials cost; writes build/bench-sweep.json
	.venv/bin/python -m benchmarks sweep --json build/bench-sweep.json $(ARGS)

images: setup      ## container images of the steps and of Airflow; ARGS="--image PATTERN data train" for some, by another name; torch only where named
	scripts/images $(ARGS)

lock: setup        ## compile every lock again
	scripts/lock

setup:
	@scripts/setup
