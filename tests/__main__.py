"""Every gate in one command: `python -m tests`; what follows is for pytest, as `--cov` is.

Coverage is asked for, and no gate: nothing depends on its figures, and it slows the tests much.
"""

import subprocess
import sys
import time
from pathlib import Path

GATES = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
    ("layers", ["lint-imports"]),
    # `auto` would be half of them where a core runs two threads, now that psutil is installed
    ("tests", ["pytest", "-n", "logical", *sys.argv[1:]]),
)


def main() -> int:
    """Run the gates in turn, all of them, and say which one failed."""
    failed = []
    for name, command in GATES:
        print(f"== {name}: {' '.join(command)}", flush=True)  # noqa: T201  a command's output
        began = time.perf_counter()
        tool = Path(sys.executable).with_name(command[0])
        status = subprocess.run([tool, *command[1:]], check=False).returncode  # noqa: S603  our own words
        print(f"== {name}: {'failed' if status else 'ok'}, {time.perf_counter() - began:.0f} s")  # noqa: T201
        if status:
            failed.append(name)
    if failed:
        print(f"== failed: {', '.join(failed)}")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
