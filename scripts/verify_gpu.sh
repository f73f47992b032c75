#!/bin/sh
# Everything of this project that a GPU changes, in under ten minutes on a machine that has one: run it from the root
# after `make setup`. Each part is run even where one before it failed, and ended when its time is up; the last lines
# say what held. What is most likely to fail comes first.
set -u
grader=.venv/bin/grader python=.venv/bin/python
failed=""

same_verdicts() {  # the sample class on CPU and GPU, with one seed
    $grader grade attention tests/submissions/attention -o "$1/cpu" --seed 5 --json > /dev/null || return 1
    $grader grade attention tests/submissions/attention -o "$1/gpu" --seed 5 --json --device cuda --gpu-workers 4 \
        > /dev/null || return 1
    diff "$1/cpu/grades.csv" "$1/gpu/grades.csv"
}
if [ "${1-}" = same_verdicts ]; then same_verdicts "$2"; exit; fi

part() {  # name, seconds it may take, then the command
    name=$1 limit=$2; shift 2
    echo; echo "== $name (at most $limit s)"
    start=$(date +%s)
    timeout -k 5 "$limit" "$@"; status=$?
    took="$(($(date +%s) - start)) s"
    if [ $status -eq 0 ]; then echo "-- held, $took"; return; fi
    failed="$failed; $name"
    if [ $status -eq 124 ]; then echo "-- FAILED: it had not ended after $limit s"; else echo "-- FAILED, $took"; fi
}

[ -x $grader ] || { echo "verify_gpu: there is no $grader; run make setup first"; exit 2; }
out=$(mktemp -d) || exit 1
nvidia-smi || echo "nvidia-smi is not there"
part "torch sees the GPU" 30 $python -c "
import torch
if not torch.cuda.is_available():
    raise SystemExit(f'torch {torch.__version__} can use no GPU')
print(torch.__version__, torch.cuda.get_device_name())"
case "$failed" in *sees*) echo; echo "Without that nothing else can hold; see the message above."; exit 1 ;; esac
part "one submission: score, isolation, peak memory" 40 $python -c "
import json, subprocess
said = subprocess.run(['$grader', 'grade', 'attention', 'reference/attention.py', '-o', '$out/one', '--seed', '1',
                       '--device', 'cuda', '--json'], stdout=subprocess.DEVNULL)
[file] = __import__('pathlib').Path('$out/one').glob('*/attention.json')
record = json.loads(file.read_text())
print(record['score'], 'on', record['device'], record['isolation'])
print('MiB at the peak:', max(check['gpu_mib'] for check in record['checks']))
raise SystemExit(said.returncode or record['score'] != record['max_score'])"
part "reference and given at full marks, also with TF32; device mistakes, full and broken GPUs" 190 \
    $python -m pytest -q -rs -n 4 -m gpu tests/grader
part "the sample class: the verdicts of the CPU" 80 sh "$0" same_verdicts "$out"
part "training beside nanoGPT's arrangement" 120 $python -m tests.bench --part 8
part "the demo of training, cut short" 55 $python -c "
import pathlib, sys
sys.path.insert(0, 'handouts/demos')
import training
from reference import training as reference
plan = training.Plan(seconds=10.0)
print(training.run(reference, pathlib.Path('$out/demo'), print, plan, device='cuda'))"
part "every mutant of attention" 80 $grader adequacy attention --device cuda

echo
if [ -n "$failed" ]; then echo "FAILED${failed}"; exit 1; fi
echo "Everything held."
