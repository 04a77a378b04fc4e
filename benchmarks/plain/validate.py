"""validate.py DATA SUITE OUT TOLERANCE: Great Expectations as its guide has it, Data Docs, bad rows apart."""

import json
import sys
from pathlib import Path

import great_expectations as gx
import pandas as pd

data, suite_file, out, tolerance = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
out.mkdir(parents=True, exist_ok=True)

expectations = json.loads(suite_file.read_text())
typed = [e["kwargs"] for e in expectations["expectations"] if e["type"].endswith("of_type")]
frame = pd.read_csv(data, dtype={kwargs["column"]: kwargs["type_"] for kwargs in typed})
frame["row_id"] = range(len(frame))
context = gx.get_context(mode="file", project_root_dir=str(out))
batch = (
    context.data_sources.add_or_update_pandas("pandas").add_dataframe_asset("data").add_batch_definition_whole_dataframe("all")
)
suite = context.suites.add_or_update(gx.ExpectationSuite(**expectations))
definition = context.validation_definitions.add_or_update(gx.ValidationDefinition(name="check", data=batch, suite=suite))
checkpoint = gx.Checkpoint(
    name="checkpoint",
    validation_definitions=[definition],
    actions=[gx.checkpoint.UpdateDataDocsAction(name="docs")],
    result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row_id"]},
)
results = checkpoint.run(batch_parameters={"dataframe": frame})

bad = {}
for validation in results.run_results.values():
    for result in validation.results:
        for index in result.result.get("unexpected_index_list") or []:
            bad.setdefault(index["row_id"], []).append(result.expectation_config.type)
        if not result.success and not result.result.get("unexpected_index_list"):
            raise SystemExit(f"Broken: {result.expectation_config.type} {result.expectation_config.kwargs}")
if len(bad) > tolerance * len(frame):
    raise SystemExit(f"{len(bad)} of {len(frame)} rows are bad")
is_bad = frame["row_id"].isin(bad.keys())
quarantine = frame[is_bad].assign(reason=[", ".join(bad[row]) for row in frame.loc[is_bad, "row_id"]])
quarantine.to_parquet(out / "quarantine.parquet")
frame[~is_bad].drop(columns="row_id").to_parquet(out / "flights.parquet")
print(len(frame), "rows,", len(quarantine), "in quarantine")
