"""Makes the tables that the tests of train and evaluate learn from, as Parquet, and an empty MLflow database.

``python learning_tables.py FOLDER`` in the train environment.
"""

import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

folder = Path(sys.argv[1])
chance = np.random.default_rng(7)


def flights(rows: int) -> pd.DataFrame:
    """Flights, two an hour; late in the evening, with OO always, and by chance."""
    n = np.arange(rows)
    hour, carrier = n // 2 % 24, np.array(["UA", "AA", "DL", "OO"])[chance.integers(0, 4, rows)]
    temp = chance.normal(50, 10, rows)
    temp[::50] = np.nan
    p = 1 / (1 + np.exp(-((hour - 14) / 4 + np.where(carrier == "OO", 1.5, -0.5))))
    return pd.DataFrame(
        {
            "carrier": carrier,
            "engine": pd.Series(np.where(n % 9 == 0, None, "Turbo-fan"), dtype="str"),
            "hour": hour.astype("int32"),
            "seats": pd.Series(np.where(n % 7 == 0, np.nan, 150.0)).astype("Int32"),
            "temp": temp,
            "night": hour > 20,
            "late": (chance.random(rows) < p).astype("int32"),
            "time_hour": pd.Timestamp("2013-01-01T00:00:00Z") + pd.to_timedelta(n // 2, unit="h"),
        }
    )


def save(name: str, table: pd.DataFrame) -> None:
    (folder / name).mkdir()
    table.to_parquet(folder / name / "part-0.parquet", index=False)


whole = flights(4000)
save("flights", whole)
save("early", whole[:3000])
save("few", whole[:300])
save("without_temp", whole.drop(columns="temp"))
save("none", whole[:0])
save("constant", whole.assign(late=1))
save("unlabelled", whole.assign(late=whole.late.astype("Int32").mask(whole.index < 3)))
save("last_all_late", whole.assign(late=whole.late.mask(whole.index >= 3000, 1)))
save("with_date", whole.assign(sold=whole.time_hour))
save("words", whole.assign(late=np.where(whole.late == 1, "late", "on time")))
save("hostile", whole.assign(**{"<script>alert(1)</script>": np.where(whole.carrier == "UA", "<b>$x$ & y</b>", "z")}))
other = whole.assign(
    seats=whole.seats.astype("float64"),
    gate=pd.Series("G", index=whole.index, dtype="str"),
    carrier=whole.carrier.mask(whole.index % 5 == 0, "Z<").mask(whole.index % 10 == 1, "a"),
    temp=whole.temp.mask(whole.index % 2 == 0),
)
save("other_data", other)
amounts = whole.drop(columns=["late", "time_hour"]).assign(
    price=whole.hour * 2.5 + chance.normal(0, 1, len(whole)), row=whole.index
)
save("amounts", amounts)
kinds = np.array(["blue", "green", "red"])[(whole.hour // 8).to_numpy()]
save("kinds", whole.drop(columns=["late", "time_hour"]).assign(kind=kinds, row=whole.index))
save("odd_times", whole.assign(time_hour="soon"))
(folder / "broken").mkdir()
(folder / "broken" / "part-0.parquet").write_bytes(b"PAR1 and no more")
mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
print("{}")
