#!/usr/bin/env bash
# The test suite, in the .venv that quickstart.sh makes. Arguments go to pytest; -m slow runs the slow tests instead.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh quickstart,dev
export HF_HUB_OFFLINE=1 WANDB_MODE=offline
exec .venv/bin/python -m pytest "$@"
