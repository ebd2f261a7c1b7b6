#!/usr/bin/env bash
# One training on all GPUs of some nodes under Slurm, by torchrun; from the project's folder:
#   sbatch infra/slurm.sh
#   sbatch --nodes 4 infra/slurm.sh --shards /scratch/shards --out data/model
# Before the time is up, and when Slurm preempts it, it writes a checkpoint and queues itself again.
#SBATCH --job-name=sagan-lab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:?is set by sbatch; submit this script with it}" || exit 2
export PATH="$PWD/.venv/bin:$PATH"
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # without it a restart after a failure may hang
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
[ "$#" -gt 0 ] || set -- --shards data/shards --reference data/reference --out data/model
# sed reads all: a pipe that closes early would end scontrol, and pipefail the script.
first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p) || exit 2

is_preempted=
# shellcheck disable=SC2317
stop() {
  is_preempted=yes
  # Not to srun, which would abort. All processes stop at the same step, with a checkpoint.
  scancel --signal=TERM "$SLURM_JOB_ID.0"
}
trap stop USR1 TERM
srun --kill-on-bad-exit=1 torchrun \
  --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" --max-restarts 3 \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first_node:29400" \
  -m stages.train "$@" &
step=$!
# A signal ends `wait` before the step has ended.
wait "$step"
code=$?
while kill -0 "$step" 2>/dev/null; do
  wait "$step"
  code=$?
done
if [ -n "$is_preempted" ] && [ "$code" -ne 0 ]; then
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
