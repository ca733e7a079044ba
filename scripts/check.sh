#!/usr/bin/env bash
# Everything that is checked without running the product; writes nothing but caches.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh quickstart,dev
export HF_HUB_OFFLINE=1 WANDB_MODE=offline
bin=.venv/bin
$bin/ruff format --check .
$bin/ruff check .
$bin/mypy
$bin/lint-imports
$bin/python -m pytest -q tests/test_configs.py
NO_MKDOCS_2_WARNING=1 $bin/mkdocs build --strict --quiet --site-dir build/site
