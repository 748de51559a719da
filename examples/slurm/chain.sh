#!/bin/bash
# Undersample, reconstruct and score a tree of fully sampled files on a Slurm cluster:
#
#   bash chain.sh DATA WORK [TASKS [options of sbatch, e.g. --partition=long --mem=16G]]
#
# DATA   tree of fully sampled files, such as ChallengeData/MultiCoil
# WORK   folder for the results: WORK/under, WORK/images and WORK/scores.jsonl
# TASKS  tasks of each job array (8)
#
# Three jobs are submitted. The second and third are held back by `afterok`: each starts when every
# task of the job before has succeeded. If a task fails, Slurm keeps the rest of the chain waiting
# (squeue shows DependencyNeverSatisfied; scancel removes it). Correct the cause and run the same
# command again: finished files are skipped, and a killed reconstruction goes on with the slices it
# has not done.
#
# The environment sets what the commands do, for example
#
#   CMRRECON_ACCELERATION=16 CMRRECON_PATTERN=kt-radial CMRRECON_METHOD=llr bash chain.sh DATA WORK
#
# With more tasks than scans, CMRRECON_SPLIT_SLICES=1 lets the tasks share the slices of a scan. The
# numbers of the three jobs are printed.
set -euo pipefail
data=${1:?folder of fully sampled files} work=${2:?folder for the results} tasks=${3:-8}
options=("${@:4}")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"

submit() { sbatch --parsable ${options[@]+"${options[@]}"} "$@" | cut -d ";" -f 1; }

under=$(submit --array="1-$tasks" "$here/undersample.sbatch" "$data" "$work/under")
images=$(submit --array="1-$tasks" --dependency="afterok:$under" \
    "$here/reconstruct.sbatch" "$work/under" "$work/images")
scores=$(submit --dependency="afterok:$images" \
    "$here/evaluate.sbatch" "$work/images" "$data" "$work/scores.jsonl")
echo "$under $images $scores"
