"""How long importing and loading take: ``python benchmarks/load_time.py``.

Every figure comes from a fresh process; the least of five.
"""

import subprocess
import sys

from rich.console import Console
from rich.table import Table

IMPORTS = "import torch, transformers; from transformers.models.bert import modeling_bert"
CASES = {
    "import headgate": ("import numpy", "import headgate"),
    "load mini/heads, beyond torch and transformers": (IMPORTS, "import headgate; headgate.load('mini/heads')"),
    "load all parts of mini, beyond torch and transformers": (
        IMPORTS,
        "import headgate; [headgate.load('mini/' + p) for p in ('nli', 'rank', 'gliclass', 'heads', 'embed')]",
    ),
}


def seconds(before: str, timed: str) -> float:
    """Seconds that ``timed`` takes in a process that has run ``before``."""
    code = f"{before}\nfrom time import perf_counter\nt = perf_counter()\n{timed}\nprint(perf_counter() - t)"
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return float(out.stdout)


def main() -> None:
    """Print the table."""
    table = Table("what", "seconds")
    for name, (before, timed) in CASES.items():
        table.add_row(name, f"{min(seconds(before, timed) for _ in range(5)):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
