"""The site over many synthetic records: how long it takes to build, how much memory and disk it needs.

    python benchmarks/site/site.py 10000 /tmp/site-benchmark

writes the records (once) to FOLDER/records, builds FOLDER/site in a process of its own and prints what that took.
"""

import argparse
import copy
import hashlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from rnnae_bench.records import history
from rnnae_bench.records.document import checksum, document_of, load
from rnnae_bench.records.history import Series

SEEDS, TASKS, MODELS, STEPS, LAGS, HISTORIES = 5, 50, 20, 1000, 40, 40
FLOW = "gradient_flow/last_step/recurrence.l0/h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="how many records")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    records, site = options.folder / "records", options.folder / "site"
    if len(list(records.glob("*.json"))) != options.count:
        generate(records, options.count)
    code = "import sys; from rnnae_bench.cli.leaderboard.build import main; sys.exit(main(sys.argv[1:]))"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(records), "--out", str(site)], check=True)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assets = sum(path.stat().st_size for path in (site / "assets").rglob("*.*"))
    index, tasks = (site / "index.html").stat().st_size, [path.stat().st_size for path in site.glob("tasks/*")]
    spent = used.ru_utime + used.ru_stime
    print(f"{seconds:.1f} s, {spent:.1f} s of processors, at most {used.ru_maxrss / 2**10:.0f} MiB a process")
    print(f"overview {(index + assets) / 1e6:.2f} MB with what it loads")
    print(f"largest task page {max(tasks) / 1e6:.2f} MB")


def generate(folder: Path, count: int) -> None:
    """Write records of models that differ in skill, on tasks that differ in what they ask, some of them failed."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parents[2] / "leaderboards" / "records"
    template = document_of(load(min(source.glob("*.json"))))
    random = np.random.default_rng(0)
    pool = [history.encode(_series(random, skill)) for skill in np.linspace(0, 1, HISTORIES)]
    columns = ["step", *_series(random, 0.0)]
    digests = [hashlib.sha256(table).hexdigest() for table in pool]
    hardness, talent = random.uniform(0.2, 1.0, TASKS), random.uniform(0.3, 1.0, MODELS)
    for number in range(count):
        seed, rest = number % SEEDS, number // SEEDS
        task, rest = rest % TASKS, rest // TASKS
        model, size = rest % MODELS, rest // MODELS
        skill = float(np.clip(talent[model] ** (1 / hardness[task]) + random.normal(0, 0.06) + 0.01 * size, 0, 1))
        place = round(skill * (HISTORIES - 1))
        record = copy.deepcopy(template)
        identity = hashlib.sha256(f"{number}".encode()).hexdigest()[:16]
        record |= {"id": identity, "task": f"task{task}", "model": f"model{model}", "seed": seed, "data_seed": seed}
        if size:
            record["overrides"] = {"model.hidden_size": 16 * size}
            record["configuration"]["model"]["hidden_size"] = 16 * size
        record["measures"] |= {"parameters": 1000 * (size + 1) * (model + 1), "state_size": 16 * (size + 1)}
        record["measures"] |= {"training_seconds": 20.0 + model, "peak_memory_bytes": 10**9 + 10**7 * size}
        if random.random() < 0.02:
            record |= {"status": "diverged", "failure": {"message": "loss is nan", "step": 40, "traceback": None}}
            record["primary"] |= {"value": None, "score": None, "solved": False}
        else:
            record["primary"] |= {"value": 0.125 + 0.875 * skill, "score": skill, "solved": skill > 0.95}
            if skill > 0.95:
                record["measures"] |= {"steps_to_solved": 500, "seconds_to_solved": 10.0}
        record["history"] = {"file": f"{identity}.parquet", "sha256": digests[place], "columns": columns}
        record["checksum"] = checksum(record)
        (folder / f"{identity}.json").write_text(json.dumps(record, indent=1))
        (folder / f"{identity}.parquet").write_bytes(pool[place])


def _series(random: np.random.Generator, skill: float) -> dict[str, Series]:
    steps = np.arange(1, STEPS + 1)
    looks = steps[49::50]
    fall = np.exp(-3 * skill * steps / STEPS)
    noisy = {
        "loss": fall * random.lognormal(0, 0.1, STEPS),
        "gradient_norm": fall * random.lognormal(0, 0.5, STEPS),
        "gradient_norm_clipped": fall,
        "gradient_norm/head.affine": fall * random.lognormal(-1, 0.5, STEPS),
        "gradient_norm/recurrence.l0": fall * random.lognormal(-0.5, 0.5, STEPS),
        "learning_rate": np.linspace(3e-3, 0, STEPS),
    }
    places = np.unique(np.geomspace(1, STEPS, 50).round().astype(int))
    lags = np.arange(LAGS)
    decay = -0.6 * (1 - skill * places / STEPS)[:, None] * lags
    profiles = {
        f"{name}{quantile}": Series(places, (decay + shift + random.normal(0, 0.1, decay.shape)).astype(np.float32))
        for name in (FLOW, FLOW.replace("last_step", "training_loss"))
        for quantile, shift in (("", 0.0), ("/q10", -0.5), ("/q90", 0.5))
    }
    accuracy = 0.125 + 0.875 * skill * (1 - np.exp(-4 * looks / STEPS)) + random.normal(0, 0.01, len(looks))
    validation = {f"validation/{name}": Series(looks, accuracy) for name in ("loss", "recall_accuracy")}
    return {**{name: Series(steps, values) for name, values in noisy.items()}, **profiles, **validation}


if __name__ == "__main__":
    main()
