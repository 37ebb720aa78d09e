"""What a study reports against what is true: prognos beside what users do today, on simulated cohorts whose truth is known.

    python benchmarks/honesty.py --out FOLDER [--replicates 200] [--populations noise,site] [--resume]
    python benchmarks/honesty.py --check        one minute, small, with its own tests

Populations, learner, seeds and practices are fixed before anything runs (`honesty_populations.py`, `honesty_learner.py`,
`honesty_practices.py`). Each replicate is a cohort of 240 patients at 12 sites; five folds are fitted once for every kind of folds and
time bins, and all practices speak of these fits. FOLDER gets a file for each replicate, so that `--resume` goes on where it ended,
`replicates.csv`, `table.csv` and `table.md`, which is printed.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from prognos.runtime import apply_host_settings, prepare_environment

prepare_environment()

import numpy as np
import pandas as pd
import torch

import honesty_learner
import honesty_populations
from honesty_learner import Part, fit_all
from honesty_populations import POPULATIONS, Patients
from honesty_practices import CURVES_ASKED, FOLDS, PROGNOS, replicate
from honesty_table import markdown, share, summary
from prognos.files import locked, write_csv, write_json, write_text

SEED, FRESH_SEED = 20_261_122, 20_261_123
REPLICATES, FRESH_PARTS, FRESH_PATIENTS = 200, 10, 8000


def settings(fresh_parts: int) -> dict:
    """What has to be equal for replicates to stand in one table."""
    constants = {
        name: value
        for module in (honesty_populations, honesty_learner)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | float)
    }
    populations = {name: asdict(population) for name, population in POPULATIONS.items()}
    own = {"seed": SEED, "fresh_seed": FRESH_SEED, "folds": FOLDS, "fresh": [fresh_parts, FRESH_PATIENTS], "curves": CURVES_ASKED}
    return json.loads(json.dumps({**own, "constants": constants, "populations": populations}))


def one(name: str, number: int, fresh: list[Patients]) -> pd.DataFrame:
    """Every practice on one replicate; the same name, number and fresh patients give the same table."""
    place = list(POPULATIONS).index(name)
    cohort, others = POPULATIONS[name].cohort([SEED, place, number])
    asked = [fresh[(FOLDS * number + fold) % len(fresh)] for fold in range(FOLDS)]
    told = replicate(cohort, others, asked, seed=1000 * place + number)
    rows = [{"population": name, "replicate": number, "practice": practice, **asdict(said)} for practice, said in told.items()]
    return pd.DataFrame(rows)


def run(out: Path, names: list[str], replicates: int, fresh_parts: int) -> pd.DataFrame:
    """All replicates, the first of every population first; those that lie in the folder already are read."""
    files = {(name, number): out / "replicates" / f"{name}-{number:04d}.csv" for number in range(replicates) for name in names}
    lacking = [key for key, file in files.items() if not file.is_file()]
    fresh = {}
    for name in dict.fromkeys(name for name, _ in lacking):
        print(f"new patients of {POPULATIONS[name].title}", flush=True)
        fresh[name] = POPULATIONS[name].fresh(fresh_parts, FRESH_PATIENTS, [FRESH_SEED, list(POPULATIONS).index(name)])
    started = time.monotonic()
    for done, (name, number) in enumerate(lacking, start=1):
        write_csv(files[name, number], one(name, number, fresh[name]))
        left = (time.monotonic() - started) / done * (len(lacking) - done)
        print(f"\r{done} of {len(lacking)} replicates, about {left / 60:.0f} minutes left ", end="", flush=True)
    print()
    return pd.concat([pd.read_csv(files[name, number]) for name in names for number in range(replicates)], ignore_index=True)


def prepared(out: Path, *, resume: bool, fresh_parts: int) -> None:
    """Makes the folder, or finds that what lies in it belongs to these settings.

    Raises:
        ValueError: there are replicates, but none were asked to be gone on from, or they were made with other settings.
    """
    wanted, place = settings(fresh_parts), out / "settings.json"
    if place.is_file():
        if not resume:
            raise ValueError(f"{out} holds replicates: add --resume to go on from them, or name another folder.")
        if json.loads(place.read_text()) != wanted:
            raise ValueError(f"the replicates in {out} were made with other settings: name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(place, wanted)


def check_parts() -> None:
    """Stops where a part of this benchmark does not do what its first sentence says."""
    low, high = share(np.arange(100) < 95)[1:]
    assert abs(low - 0.8882) < 5e-4, low  # Wilson: (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    assert abs(high - 0.9785) < 5e-4, high
    cohort, _ = POPULATIONS["half-missing"].cohort([1])
    lacking = np.isnan(cohort.features).any(axis=1).mean()
    assert 0.4 < lacking < 0.6, lacking
    parts = [Part(np.arange(first, 240), np.arange(240), seed=first) for first in (0, 40, 48)]
    together = fit_all(cohort.features, cohort.time, cohort.event, parts)[2]
    half = fit_all(cohort.features, cohort.time, cohort.event, [parts[0], parts[2]])[1]
    risks = [fit.predict(cohort.features).risk for fit in (together, half)]
    assert torch.allclose(*risks, atol=1e-4), "a fit depends on those beside it"
    fresh = POPULATIONS["noise"].fresh(2, 1000, [2])
    assert one("noise", 0, fresh).equals(one("noise", 0, fresh)), "a replicate is not the same twice"


def check_folder(out: Path) -> None:
    """Stops where replicates could be overwritten, or mixed with those of other settings."""
    for resume, fresh_parts, reason in ((False, 1, "add --resume"), (True, 2, "made with other settings")):
        said = ""
        try:
            prepared(out, resume=resume, fresh_parts=fresh_parts)
        except ValueError as refused:
            said = str(refused)
        assert reason in said, f"not refused with {reason!r}"


def check_table(table: pd.DataFrame) -> None:
    """Stops where the smallest run already contradicts what is known by construction."""
    found = table.set_index(["population", "practice"])
    for name, population in POPULATIONS.items():
        ours = found.loc[(name, PROGNOS)]
        if population.null:
            assert abs(ours["measured_at_new_sites"] - 0.5) < 0.03, name
        assert found.loc[(name, "best epoch of the fold"), "reported"] >= ours["reported"], name
    assert found.loc[("clinical", PROGNOS), "true"] > 0.55
    assert found.loc[("site", "random folds"), "true_at_sites"] > 0.55


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    parser.add_argument("--populations", default=",".join(POPULATIONS))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    apply_host_settings(threads=1)
    out, replicates, fresh_parts = options.out, options.replicates, FRESH_PARTS
    if options.check:
        check_parts()
        replicates, fresh_parts = 2, 1
    out = out or Path(tempfile.mkdtemp(prefix="prognos-honesty-"))
    names = [name for name in POPULATIONS if name in options.populations.split(",")]
    try:
        prepared(out, resume=options.resume, fresh_parts=fresh_parts)
    except ValueError as reason:
        parser.error(str(reason))
    with locked(out):
        rows = run(out, names, replicates, fresh_parts)
        table = summary(rows, POPULATIONS)
        text = markdown(table, POPULATIONS)
        write_csv(out / "replicates.csv", rows)
        write_csv(out / "table.csv", table)
        write_text(out / "table.md", text)
    print(f"{replicates} cohorts of {honesty_populations.PATIENTS} patients each; ± and brackets: 95% Monte-Carlo error\n\n{text}\n{out}")
    if options.check:
        check_folder(out)
        check_table(table)


if __name__ == "__main__":
    main()
