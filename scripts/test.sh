#!/usr/bin/env bash
# The test suite on every core, in the .venv that quickstart.sh makes. Arguments go to pytest: -m slow runs the slow
# tests instead, best with -n 0: all in one process, since they start programs with time limits of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh quickstart,dev
export HF_HUB_OFFLINE=1 WANDB_MODE=offline
export OMP_NUM_THREADS=1 # a core for each process; a module's tests share what they set up, so they stay together
exec .venv/bin/python -m pytest -n auto --dist loadscope "$@"
