#!/bin/bash
# Undersample, reconstruct and score a folder of fully sampled files on a Slurm cluster:
#
#   bash chain.sh DATA WORK [TASKS [sbatch options, e.g. --partition=long --mem=16G]]
#
# DATA   folder of fully sampled files, such as ChallengeData/MultiCoil
# WORK   folder for the results: WORK/under, WORK/images and WORK/scores.jsonl
# TASKS  number of tasks in each job array (default: 8)
#
# The script submits three jobs. With the dependency `afterok`, the second and third start only when
# every task of the previous job has succeeded. If a task fails, Slurm keeps the remaining jobs
# waiting (squeue shows DependencyNeverSatisfied; scancel removes them). Fix the problem and run the
# same command again: finished files are skipped, and a killed reconstruction resumes with its
# unfinished slices.
#
# Options of the commands are set with environment variables, for example
#
#   CMRRECON_ACCELERATION=16 CMRRECON_PATTERN=kt-radial CMRRECON_METHOD=llr bash chain.sh DATA WORK
#
# If there are more tasks than scans, CMRRECON_SPLIT_SLICES=1 lets the tasks share the slices of a
# scan. The script prints the numbers of the three jobs.
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
