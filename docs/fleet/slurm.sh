#!/bin/bash
# sbatch slurm.sh films/ -o out/ --recursive        what follows is what vnlsdenoise is given
#SBATCH --job-name=vnlsdenoise
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -u
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{ print $1 }')
port=$((20000 + SLURM_JOB_ID % 20000))
cpus=${SLURM_CPUS_PER_TASK:-1} gpus=${SLURM_GPUS_ON_NODE:-0}
# Nobody without this token, which all nodes read in the home folder, may use the cluster.
export RAY_AUTH_MODE=token
[ -e ~/.ray/auth_token ] || ray get-auth-token --generate > /dev/null

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" ray start --head --node-ip-address="$address" --port="$port" \
  --num-cpus="$cpus" --num-gpus="$gpus" --include-dashboard=false --disable-usage-stats --block &
until ray status --address="$address:$port" > /dev/null 2>&1; do sleep 2; done
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
  srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head" ray start --address="$address:$port" \
    --num-cpus="$cpus" --num-gpus="$gpus" --disable-usage-stats --block &
  sleep 20
fi

# Near the end of its time, and where the node is wanted for others, the run ends with 75 and is queued again.
vnlsdenoise "$@" --ray "$address:$port" --progress lines &
run=$!
trap 'kill -USR1 $run' USR1
wait $run
code=$?
while kill -0 $run 2> /dev/null; do # a signal has ended the wait
  wait $run
  code=$?
done
ray stop > /dev/null 2>&1
if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
