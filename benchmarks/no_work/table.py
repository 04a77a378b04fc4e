"""``table.py FOLDER``, in the train environment: a thousand rows as a dataset."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
chance = np.random.default_rng(0)
rows = pd.DataFrame({f"x{number}": chance.normal(size=1000) for number in range(10)} | {"y": chance.normal(size=1000)})
rows.to_parquet(folder / "part-0.parquet", index=False)
