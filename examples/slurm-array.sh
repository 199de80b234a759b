#!/bin/bash
# A cache built by 64 tasks of a Slurm job array, 16 at a time: sbatch slurm-array.sh
# Again for some of them: sbatch --array=3,7 slurm-array.sh
#SBATCH --job-name=logitcache
#SBATCH --array=1-64%16
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
set -u

shards=${SHARDS:-64} # as in --array above
teacher=${TEACHER:-yolov8s.onnx}
data=${DATA:-data.yaml}
cache=${CACHE:-cache}

status=0
logitcache build --teacher "$teacher" --data "$data" --out "$cache" \
  --jobs "${SLURM_CPUS_PER_TASK:-1}" --shard "$SLURM_ARRAY_TASK_ID/$shards" || status=$?

case $status in
  # Finished, but some images failed. They are in the manifest.
  1) status=0 ;;
  # Another try may succeed.
  75 | 130) if [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then scontrol requeue "$SLURM_JOB_ID"; fi ;;
esac
exit "$status"
