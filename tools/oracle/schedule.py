"""Makes train/testdata/schedules.json: learning rates by torch.optim.lr_scheduler.

    python3 tools/oracle/schedule.py
"""

import json
import pathlib
import random

import torch
from torch.optim import lr_scheduler as lrs

HERE = pathlib.Path(__file__).resolve().parent
FIXTURE = HERE.parent.parent / "train" / "testdata" / "schedules.json"


def optimiser(rate):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def plateau(rng, start, factor, patience, threshold, epochs):
    """Errors that fall, stay and rise again, and the rate after each epoch. PyTorch
    lowers the rate after more than its patience of epochs without a fall."""
    opt = optimiser(start)
    s = lrs.ReduceLROnPlateau(opt, "min", factor=factor, patience=patience - 1, threshold=threshold,
                              threshold_mode="abs", eps=0)
    error, errors, rates = 0.9, [], []
    for _ in range(epochs):
        error = min(1, max(0, error + rng.choice([-0.08, -0.02, -0.001, 0, 0, 0.003, 0.01])))
        errors.append(error)
        s.step(error)
        rates.append(opt.param_groups[0]["lr"])
    return {"schedule": {"name": "plateau", "factor": factor, "patience": patience, "threshold": threshold, "decreases": epochs,
                         "warmup_factor": 1},
            "start": start, "errors": errors, "rates": rates}


def by_iteration(start, iterations, per_epoch, schedule):
    """The rate of every iteration."""
    opt = optimiser(start)
    warmup = schedule.get("warmup_iterations", 0) + per_epoch * schedule.get("warmup_epochs", 0)
    name = schedule["name"]

    def rising():
        return lrs.LinearLR(opt, start_factor=schedule["warmup_factor"], total_iters=warmup)

    if name == "cosine":
        def cosine():
            return lrs.CosineAnnealingLR(opt, T_max=iterations - warmup, eta_min=schedule["final_rate"])
        s = lrs.SequentialLR(opt, [rising(), cosine()], milestones=[warmup]) if warmup else cosine()
    else:
        steps = [e * per_epoch for e in schedule.get("steps", [])]
        both = [lrs.MultiStepLR(opt, milestones=steps, gamma=schedule.get("factor", 0.1))]
        if warmup:
            both.append(rising())
        s = lrs.ChainedScheduler(both)
    rates = []
    for _ in range(iterations):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        s.step()
    return {"schedule": {"factor": 0.1, "warmup_factor": 1} | schedule, "start": start, "per_epoch": per_epoch, "rates": rates}


def main():
    rng = random.Random(1)
    cases = [
        plateau(rng, 1e-2, 0.1, 5, 1e-3, 60),
        plateau(rng, 1e-2, 0.1, 1, 0, 30),
        plateau(rng, 0.3, 0.5, 2, 0.02, 60),
        plateau(rng, 0.3, 0.2, 3, 1e-4, 60),
        by_iteration(1e-2, 40, 4, {"name": "step", "factor": 0.1, "steps": [3, 5, 9]}),
        by_iteration(1e-2, 40, 4, {"name": "step", "factor": 0.3, "steps": [2, 6], "warmup_epochs": 3, "warmup_factor": 0.1}),
        by_iteration(0.1, 30, 7, {"name": "constant", "warmup_iterations": 11, "warmup_factor": 0.25}),
        by_iteration(0.1, 30, 7, {"name": "cosine", "final_rate": 0.0}),
        by_iteration(0.1, 50, 7, {"name": "cosine", "final_rate": 1e-3, "warmup_iterations": 9, "warmup_factor": 0.01}),
        by_iteration(0.1, 42, 7, {"name": "cosine", "final_rate": 0.0, "warmup_epochs": 2, "warmup_factor": 0.5}),
    ]
    FIXTURE.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, indent=None) + "\n")
    print(FIXTURE, FIXTURE.stat().st_size, "bytes")


main()
