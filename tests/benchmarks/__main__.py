"""Every benchmark, one after the other, into one file: `python -m tests.benchmarks`.

Each starts its peers itself and prints its own table; `python -m tests.benchmarks NAME` runs one.
`python -m tests.benchmarks.compare` compares the file with that of another run. Half an hour, on a
machine that does nothing else. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_BESIDE_PEERS = ("reads", "workers", "refreshes", "startup")
_ALONE = ("large_refresh", "ten_thousand")


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*_BESIDE_PEERS, *_ALONE]
    parser.add_argument("name", nargs="*", choices=names)
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"))
    given = parser.parse_args()
    where: dict[str, str] = {}
    figures: list[object] = []
    values: list[object] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.name or names:
            print(f"\n# {name}", flush=True)  # noqa: T201  a command's output
            file = Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json", str(file)]
            subprocess.run(command, check=True)  # noqa: S603  our own words
            found = json.loads(file.read_text())
            if name in _ALONE:
                values += found
            else:
                figures += found["figures"]
                where |= found["machine"]
    given.json.write_text(
        json.dumps({"machine": where, "figures": figures, "values": values}, indent=1)
    )
    print(f"\nall figures in {given.json}")  # noqa: T201  as above


if __name__ == "__main__":
    main()
