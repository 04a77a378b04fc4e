"""serve.py OUT MLFLOW: MLServer with the champion, and one prediction."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow

out, uri = Path(sys.argv[1]), sys.argv[2]
with socket.socket() as a, socket.socket() as b, socket.socket() as c:
    for free in (a, b, c):
        free.bind(("127.0.0.1", 0))
    port, grpc_port, metrics_port = (free.getsockname()[1] for free in (a, b, c))
mlflow.set_tracking_uri(uri)
model = mlflow.artifacts.download_artifacts("models:/plain@champion", dst_path=str(out / "served"))
folder = out / "mlserver"
folder.mkdir()
ports = {"http_port": port, "grpc_port": grpc_port, "metrics_port": metrics_port}
(folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
(folder / "model-settings.json").write_text(
    json.dumps({"name": "plain", "implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": model}})
)
server = subprocess.Popen([Path(sys.executable).with_name("mlserver"), "start", folder], env={**os.environ})
try:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/plain/ready", timeout=5)
            break
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    body = (Path(model) / "serving_input_example.json").read_bytes()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    print(urllib.request.urlopen(request, timeout=30).read().decode())
finally:
    server.kill()
