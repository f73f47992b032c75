"""The figures of the benchmark as plain text for people."""

from typing import Any

Facts = dict[str, Any]


def show(name: str, facts: Facts) -> None:
    """Print one part."""
    lines = {
        "machine": _machine,
        "class": _class,
        "throughput": _throughput,
        "endless": _endless,
        "single": _single,
        "start_up": _start_up,
        "where": _where,
        "saving": _saving,
        "training": lambda found: _training(7, found),
        "training_on_gpu": lambda found: _training(8, found),
        "memory": _memory,
    }[name](facts)
    print("\n".join(lines), end="\n\n", flush=True)


def _machine(facts: Facts) -> list[str]:
    what = f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, torch {facts['torch']}"
    busy = "; something else is running, wall times are too long" if facts["load"] > 0.5 else ""
    return [what, f"load before the start {facts['load']:.1f}{busy}"]


def _class(facts: Facts) -> list[str]:
    left_out = ", ".join(facts["left_out"]) or "none"
    return [f"copies of: {', '.join(facts['samples'])}", f"left out (do not import, do not end, flood): {left_out}"]


def _throughput(facts: Facts) -> list[str]:
    size, sample = facts["submissions"], facts["rival_sample"]
    return [
        f"1. A class of {size}, cold start to the last report; median of {facts['rounds']} rounds, ours and the rival's"
        " in turns",
        *_row("", "seconds", "a second", "CPU s each"),
        *_row("grader grade", facts["median"], facts["per_second"], _middle(facts["cpu_seconds"]) / size),
        *_row(
            "plain pytest",
            facts["rival_scaled"],
            facts["rival_per_second"],
            _middle(facts["rival_sample_cpu_seconds"]) / sample,
        ),
        f"   plain pytest ran {sample} of them a round, one process each, and is scaled linearly to {size}.",
        f"   The grader is {facts['ratio']:.1f} times as fast (CPU time: {facts['cpu_ratio']:.1f} times less);"
        f" rounds {_list(facts['seconds'])} s against {_list(facts['rival_sample_seconds'])} s for {sample}.",
    ]


def _endless(facts: Facts) -> list[str]:
    count, each = facts["endless"], facts["timeouts_allowed"] * facts["check_cpu_seconds"]
    return [
        f"2. {count} submissions that never end among them",
        f"   wall time added: {facts['added']:.1f} s (CPU: {facts['added_cpu']:.1f} s);"
        f" rounds {_list(facts['without'])} s without, {_list(facts['with'])} s with them",
        f"   their own budget: {count} x {facts['budget_cpu_each']} s of CPU; {facts['timeouts_allowed']} time-outs of"
        f" {facts['check_cpu_seconds']:g} s end one, which is {count * each:g} s of CPU for {count}",
    ]


def _single(facts: Facts) -> list[str]:
    lines = ["3. One submission, cold start; median of 5, in turns", *_row("", "grader check", "plain pytest", "ratio")]
    for name, one in facts.items():
        ours, theirs = one["median"], one["rival_median"]
        lines += _row(f"{name} ({one['score']:g} points), s", ours, theirs, theirs / ours)
        lines += _row("   CPU s", one["cpu_median"], one["rival_cpu_median"], "")
    return lines


def _start_up(facts: Facts) -> list[str]:
    return [f"4. grader --help: {facts['median']:.2f} s, median of {len(facts['seconds'])} (aim: {facts['aim']:g} s)"]


def _where(facts: Facts) -> list[str]:
    if "note" in facts:
        return [f"5. Where the CPU time goes: {facts['note']}"]
    lines = [
        f"5. Where the CPU time goes: {facts['cpu_seconds']:.1f} s of CPU in {facts['seconds']:.1f} s;"
        f" the first record after {facts['seconds_to_first_record']:.1f} s",
        *_row("CPU seconds", "until then", "after", "share %"),
    ]
    for name, row in facts["rows"].items():
        before, whole = row["before_first_record"], row["whole"]
        lines += _row(name, before, whole - before, 100 * whole / facts["cpu_seconds"])
    above, aim = 1000 * facts["above"], 1000 * facts["aim_above"]
    each, own = 1000 * facts["each_after_the_first"], 1000 * facts["arithmetic"]
    return [
        *lines,
        f"   A submission after the first takes {each:.0f} ms of CPU; the checks' own arithmetic, in a loop in one",
        f"   warm process, takes {own:.0f} ms. Above it: {above:.0f} ms (aim: at most {aim:.0f} ms).",
        *_row("A worker", "CPU ms"),
        *(line for name, seconds in facts["one_worker"].items() for line in _row(name, 1000 * seconds)),
    ]


def _saving(facts: Facts) -> list[str]:
    return [
        f"6. From a save to its verdict, {facts['saves']} saves, half of them with a mistake (aim: {facts['aim']:g} s)",
        *_row("", "median s", "worst s", "from cold s"),
        *_row("grader check --watch", facts["median"], facts["worst"], facts["cold"]),
        *_row("plain pytest, every time from cold", facts["rival_median"], max(facts["rival_seconds"]), ""),
    ]


def _training(number: int, facts: Facts) -> list[str]:
    if "note" in facts:
        return [f"{number}. Training a GPT: {facts['note']}"]
    lines = [
        f"{number}. Training a GPT of {facts['parameters']:,} parameters ({facts['shape']}, {facts['how']});"
        f" median of {facts['rounds']} rounds, in turns",
        *_row("", "tokens a second", "ratio"),
    ]
    for name, speed in facts["median"].items():
        lines += _row(name, speed, facts["ratio"][name])
    return lines


def _memory(facts: Facts) -> list[str]:
    return [
        f"9. Memory with {facts['workers']} workers, the judge and the zygotes included, shared pages counted once:"
        f" {facts['most_mib']:.0f} MiB at the most (aim: {facts['aim_mib']} MiB)"
    ]


def _row(name: str, *cells: float | str) -> list[str]:
    texts = [f"{cell:14.2f}" if isinstance(cell, float) else f"{cell:>14}" for cell in cells]
    return [f"   {name:36}{''.join(texts)}"]


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _list(values: list[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)
