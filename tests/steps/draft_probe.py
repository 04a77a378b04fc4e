"""Drafts for several tables in one process of the data environment.

``python draft_probe.py FILE``: a JSON list of [path, target]. The last line printed is a JSON list of what came of each:
the draft, or ``{"error": message}``.
"""

import json
import sys
from pathlib import Path

from tradewind.errors import TradewindError
from tradewind_steps.draft.__main__ import look_at

found = []
for path, target in json.loads(Path(sys.argv[1]).read_text()):
    try:
        found.append(look_at(Path(path), target))
    except TradewindError as error:
        found.append({"error": str(error)})
print(json.dumps(found, default=str, allow_nan=False))
