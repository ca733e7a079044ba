#!/usr/bin/env bash
# What a GPU does with lit_rec, in one run: training against sentence-transformers' own trainer, an evaluation of
# 13,120 queries x 49,688 products, and the text tower of configs/instacart.yaml beside the static encoder.
#   bash scripts/benchmarks/on_gpu.sh DATA_DIR BASE_MODEL OUT_DIR [SECONDS]
# DATA_DIR: Instacart's six files. BASE_MODEL: all-MiniLM-L6-v2, in a folder. SECONDS: about how long each of the two
# encoders may train (the number of epochs follows from the throughput measured first).
set -euo pipefail
cd "$(dirname "$0")/../.."
data=$1 base=$2 out=$3 seconds=${4:-150}
python=${PYTHON:-python3}
work=${WORK:-/tmp/lit_rec_on_gpu}
export HF_HUB_OFFLINE=1 WANDB_MODE=offline PYTHONUNBUFFERED=1
mkdir -p "$out" "$work"
lit_rec() { "$python" -m lit_rec "$@"; }
step() { echo "== $* ($(date +%T))"; }

step "prepare"
lit_rec prepare --source instacart --data_dir "$data" --output_dir "$work/processed" --eval_frac 0.3 \
  --targets rolling --rolling_targets 0
processed=$work/processed/p5_mp20_ef0.3_rollall

step "throughput"
"$python" scripts/benchmarks/training_throughput.py --processed_dir "$processed" --base_model "$base" \
  --steps "${STEPS:-60}" --warm_up 5 --rounds "${ROUNDS:-2}" --json_file "$out/training_throughput_gpu.json"

step "evaluation of 13,120 queries x 49,688 products"
lit_rec prepare --source synthetic --data_dir "$work/synthetic" --n_users "${USERS:-21000}" \
  --n_products "${PRODUCTS:-49688}" --output_dir "$work/evaluation" --eval_frac 1.0
TIMEFORMAT='test, the process in all: %R s wall, %U s user'
time lit_rec test --data.processed_dir "$work/evaluation" --data.eval_batch_size 256 --model.base_model "$base" \
  --output_dir "$work/test" --wandb off

step "text tower and static encoder"
epochs() { # that fit into so many seconds at the pairs a second measured
  "$python" - "$out/training_throughput_gpu.json" "$processed" "$seconds" << 'PYTHON'
import json, sys
rates = json.load(open(sys.argv[1]))["summary"]
pairs = json.load(open(sys.argv[2] + "/data_prep_params.json"))["n_train_pairs"]
rate = max(values["pairs_per_second"] for name, values in rates.items() if name.startswith("orders"))
print(min(5, max(1, int(float(sys.argv[3]) * rate / pairs))))
PYTHON
}
n=$(epochs)
common=(--data.processed_dir "$processed" --data.source null --model.base_model "$base" --wandb off)
time lit_rec fit --config configs/instacart.yaml "${common[@]}" --trainer.max_epochs "$n" --output_dir "$work/tower"
time lit_rec fit --config configs/instacart_static.yaml "${common[@]}" --model.added_tokens_from "$processed" \
  --output_dir "$work/static"
for model in tower static; do
  lit_rec test --config configs/instacart.yaml --data.processed_dir "$processed" --data.source null --wandb off \
    --ckpt_path "$work/$model/checkpoints/best.ckpt" --output_dir "$work/tested" || true
done
cp "$work/tested/test_metrics.json" "$out/text_tower_gpu.json"
cp "$work/tower/learning_curve.png" "$out/" || true
nvidia-smi --query-gpu=name,memory.used --format=csv || true
