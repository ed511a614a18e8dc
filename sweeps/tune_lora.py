"""How far can LoRA be tuned on this stream: rank, layers and learning rate?

One Optuna study over LoRA's annotated search space and the learning rate, on the validation split; the best
setting is measured on the test split once. Stop it at any time and run it again: finished trials stand, an
interrupted one goes on from its checkpoint.

    python sweeps/tune_lora.py --trials 20
    python sweeps/tune_lora.py --trials 20 --strategy replay --search adapter,train.lr,strategy.weight
"""

from __future__ import annotations

import sys

from clplat.cli import main

if __name__ == "__main__":
    own = ["--trials", "20", "--adapter", "lora", "--search", "adapter,train.lr", "--out", "runs/tune-lora"]
    sys.exit(main(["sweep", *own, *sys.argv[1:]]))
