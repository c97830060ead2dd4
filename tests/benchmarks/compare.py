"""Two files of figures side by side: `python -m tests.benchmarks.compare BEFORE AFTER`.

Machines differ, and the same one by the hour: compared is therefore what `refresher serve` is to
each peer of its own run, before and after. What has no peer is put side by side as it is.
"""

import argparse
import json
from pathlib import Path


def ratios(path: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Throughput and CPU of the service over each peer's, by kind of work and peer."""
    best = {
        (each["work"], each["peer"]): (max(each["per_second"]), min(each["cpu_us"]))
        for each in json.loads(path.read_text())["figures"]
    }
    return {
        (work, peer): (best[work, "serve"][0] / rate, best[work, "serve"][1] / cpu)
        for (work, peer), (rate, cpu) in best.items()
        if peer != "serve"
    }


def values(path: Path) -> dict[str, tuple[float, str]]:
    """What was measured of the service alone, by its name: a value and its unit."""
    told = json.loads(path.read_text())
    met = {each["work"] for each in told["figures"] if each["peer"] != "serve"}
    alone = {
        f"{each['work']}, CPU": (min(each["cpu_us"]), "µs")
        for each in told["figures"]
        if each["work"] not in met
    }
    found = told.get("values", ())
    return alone | {each["name"]: (each["value"], each["unit"]) for each in found}


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    before, after = ratios(given.before), ratios(given.after)
    lines = [f"{'serve ÷ peer':50} {'per second':>18}   {'CPU each':>18}"]
    for work, peer in (each for each in before if each in after):
        (rate, cpu), (new_rate, new_cpu) = before[work, peer], after[work, peer]
        lines.append(
            f"{f'{work} ÷ {peer}':50} {rate:7.2f} → {new_rate:7.2f}   {cpu:7.2f} → {new_cpu:7.2f}"
        )
    alone, alone_after = values(given.before), values(given.after)
    for name in (each for each in alone if each in alone_after):
        (value, unit), (new, _) = alone[name], alone_after[name]
        lines.append(f"{name:50} {value:7.2f} → {new:7.2f} {unit}")
    print("\n".join(lines))  # noqa: T201  a command's output


if __name__ == "__main__":
    main()
