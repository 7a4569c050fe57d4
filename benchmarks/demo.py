"""The main job as a whole: wall time, peak memory, and what the trained model reaches beside the plain rows.

`python -m benchmarks.demo` runs `procir demo` as a process of its own in a new folder, and prints as its last line
one JSON object with the claim.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MINUTES, GIGABYTES, RATIO = 8.0, 4.0, 2.0
MARGIN = 5.0
"""Points of R@5 by which every single view must lie below all views."""
RETRIEVERS = ("source only", "text only", "untrained")
"""Plain ways to retrieve; the single views, which are asked with the text too, are measured apart."""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "procir.cli", "demo", "--out", folder], check=True)
        minutes = (time.perf_counter() - start) / 60
        rows = json.loads((Path(folder) / "results.json").read_text())["rows"]
    gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    ours = rows["procir"]["R@5"]
    plain = max(rows[name]["R@5"] for name in RETRIEVERS)
    single = {name: row["R@5"] for name, row in rows.items() if name.startswith("only ")}
    print(f"{os.cpu_count()} cores: {minutes:.1f} of {MINUTES} minutes, {gigabytes:.1f} of {GIGABYTES} GB")
    print(f"R@5 {ours}; best plain row {plain}; single views {single}")
    lean = minutes <= MINUTES and gigabytes <= GIGABYTES
    holds = lean and ours >= RATIO * plain and ours - max(single.values()) >= MARGIN
    claim = "procir demo: 8 minutes, 4 GB, R@5 at least twice the best plain row and 5 points above every single view"
    print(json.dumps({"claim": claim, "value": round(ours / plain, 2), "target": RATIO, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
