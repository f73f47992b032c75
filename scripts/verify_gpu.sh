#!/bin/sh
# Everything of this project that a GPU changes, in under ten minutes on a machine that has one: run it from the root
# after `make setup`. Each part is run even where one before it failed; the last lines say what held.
set -u
grader=.venv/bin/grader python=.venv/bin/python
out=$(mktemp -d) || exit 1
failed=""

part() {  # name, then the command
    name=$1; shift
    echo; echo "== $name"
    start=$(date +%s)
    if "$@"; then echo "-- held, $(($(date +%s) - start)) s"
    else failed="$failed; $name"; echo "-- FAILED, $(($(date +%s) - start)) s"; fi
}

checks() {  # device, implementation: the checks of every module
    for module in attention block gpt tokenizer training finetuning; do
        $python -m pytest -q --no-header "tests/checks/check_$module"*.py --device "$1" --impl "$2/$module.py" \
            --allow-forbidden | tail -3 | tee "$out/said"
        grep -q " passed" "$out/said" && ! grep -q "failed\|error" "$out/said" || return 1
    done
}

same_verdicts() {  # the sample class on CPU and GPU, with one seed
    $grader grade attention tests/submissions/attention -o "$out/cpu" --seed 5 --json > /dev/null || return 1
    $grader grade attention tests/submissions/attention -o "$out/gpu" --seed 5 --device cuda --json > /dev/null || return 1
    diff "$out/cpu/grades.csv" "$out/gpu/grades.csv"
}

nvidia-smi || echo "nvidia-smi is not there"
part "torch sees the GPU" $python -c "import torch; print(torch.__version__, torch.cuda.get_device_name())"
part "one submission: isolation and peak memory" sh -c "$grader grade attention reference/attention.py -o $out/one \
    --seed 1 --device cuda --json > /dev/null; $python -c \"
import json, pathlib
record = json.loads(next(pathlib.Path('$out/one').glob('*/attention.json')).read_text())
print(record['score'], record['device'], record['isolation'])
print('MiB at the peak:', max(check['gpu_mib'] for check in record['checks']))
raise SystemExit(record['score'] != record['max_score'])\""
part "reference at full marks, float32 and bfloat16" checks cuda reference
part "given at full marks" checks cuda assignments/given
part "reference at full marks with TF32" checks cuda-tf32 reference
part "two workers share the GPU" $grader grade attention tests/submissions/attention/aiko -o "$out/two" \
    --device cuda --gpu-workers 2
part "the sample class: the verdicts of the CPU" same_verdicts
part "every mutant of attention" $grader adequacy attention --device cuda
part "training beside nanoGPT's arrangement" $python -m tests.bench --part 8
part "the demo of training" $grader demo training --impl reference --device cuda -o "$out/demo"

echo
if [ -n "$failed" ]; then echo "FAILED${failed}"; exit 1; fi
echo "Everything held."
