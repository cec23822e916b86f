"""Train the four shipped networks over several seeds: ``python benchmarks/shipped_networks.py``.

Every network is one call of ``ephys train superres``; what is finished is not trained again, so
the script can be stopped and started. Each training has one thread, and as many run at a time as
there are cores.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NETWORKS = {
    "superres-divnormei": ["--normalization", "divnormei", "--excitation-from", "normalized"],
    "superres-divnormei-eq3": ["--normalization", "divnormei", "--excitation-from", "drive"],
    "superres-divnorm": ["--normalization", "divnorm"],
    "superres-gabor": ["--normalization", "none"],
}
STEPS = 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="BSDS500 folder")
    parser.add_argument("--out", type=Path, default=Path("runs/training"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for seed in arguments.seeds for name in NETWORKS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: _train(*job, arguments.data, arguments.out), jobs))


def _train(name: str, seed: int, data: Path, out: Path) -> None:
    checkpoint = out / f"{name}-seed{seed}.safetensors"
    if checkpoint.exists():
        return
    command = [sys.executable, "-m", "ephys", "train", "superres", *NETWORKS[name]]
    command += ["--data", str(data), "-o", str(checkpoint), "--steps", str(STEPS)]
    command += ["--seed", str(seed), "--device", "cpu"]
    if checkpoint.with_name(checkpoint.name + ".training").exists():
        command.append("--resume")
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
