"""The Markdown that the comparison writes."""
import os
import platform
import shlex
import statistics
from datetime import date
from pathlib import Path

from contestants import Models
from work import THREADS

BEGIN = "<!-- begin: written by tools/compare -->"
END = "<!-- end: written by tools/compare -->"
HEAD = "# Performance\n\n"


def insert(path, tables):
    """Replaces the text between the markers of a file; a new file gets the markers."""
    text = path.read_text() if path.exists() else HEAD
    block = f"{BEGIN}\n{tables}{END}"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        text = before + block + after
    else:
        text = text.rstrip("\n") + "\n\n" + block + "\n"
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def duration(ms):
    if ms >= 1000:
        return f"{ms / 1000:.2f} s"
    return f"{ms:.0f} ms" if ms >= 100 else f"{ms:.1f} ms"


def memory(size):
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def table(works, contestants, results, value, unit):
    """One row a work: medians over the rounds with their range, and ours ÷ each peer's."""
    ours, *peers = contestants
    cells = [["work"] + [c.title for c in contestants] + [f"vgg ÷ {p.title}" for p in peers]]
    for work in works:
        medians, row = {}, [work.title]
        for c in contestants:
            values = [value(m) for m in results.get((work, c), ())]
            if not values:
                row.append("–")
                continue
            medians[c] = statistics.median(values)
            spread = f" ({unit(min(values))} to {unit(max(values))})" if len(values) > 1 else ""
            row.append(unit(medians[c]) + spread)
        for p in peers:
            both = ours in medians and p in medians
            row.append(f"**{medians[ours] / medians[p]:.2f}**" if both else "–")
        cells.append(row)
    cells.insert(1, ["---"] + ["--:"] * (len(cells[0]) - 1))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def processor():
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def shown(argv, env, cache):
    """A command as one types it, without this machine's folders."""
    root = str(Path(__file__).resolve().parent.parent.parent)
    words = [f"{k}={shlex.quote(v)}" for k, v in env.items()] + [shlex.quote(a) for a in argv]
    text = " ".join(words).replace(str(cache), "$CACHE").replace(root + "/", "")
    return text.replace(Models.given, "python3") if Models.given else text


def render(comparison):
    """The whole block between the markers."""
    c = comparison
    load = f", load average {c.load:.1f} before" if c.load is not None else ""
    out = [f"{processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}; "
           f"{THREADS} threads, fp32; {date.today().isoformat()}{load}. "
           f"Medians of {c.rounds} {'round' if c.rounds == 1 else 'rounds'}, the range in brackets; "
           "in a round all take turns on each work, each in a process of its own. "
           "Below 1, vgg is faster, or takes less memory.\n"]
    if c.quick:
        out.append("A quick run, to see that everything works: not figures to quote.\n")
    out.append("| | version | largest difference of a log posterior from vgg's |\n|---|---|--:|\n" + "".join(
        f"| {x.title} | {c.versions[x]} | {f'{c.agreement[x]:.0e}' if x in c.agreement else ''} |\n"
        for x in c.contestants if x in c.versions))
    for name, modes in ("Inference", ("infer", "dense")), ("Training step", ("train",)):
        works = [w for w in c.works if w.mode in modes]
        taking_part = [x for x in c.contestants if any(c.results.get((w, x)) for w in works)]
        if not taking_part or taking_part[0] is not c.contestants[0]:
            continue
        out.append(f"### {name}\n")
        out.append(table(works, taking_part, c.results, lambda m: m.median, duration))
        out.append("Peak memory of the whole process, set-up included:\n")
        out.append(table(works, taking_part, c.results, lambda m: m.rss, memory))
    others = [m.others for runs in c.results.values() for m in runs]
    if others:
        out.append(f"Other processes used {100 * statistics.median(others):.1f} % of the machine "
                   f"in the median run, {100 * max(others):.1f} % in the worst.\n")
    for work, x, reason in c.left_out:
        out.append(f"Left out: {x.title}{', ' + work.title if work else ''}: {reason}\n")
    commands = {}
    for work in c.works:
        for x in c.contestants:
            if c.results.get((work, x)):
                commands.setdefault((work.mode, x), shown(*c.command(work, x), c.cache))
    out.append(f"Repeat with `{c.invocation}`. What it calls, for the first work of each kind, with the fastest of "
               "the configurations tried ($CACHE is ${XDG_CACHE_HOME:-~/.cache}/vgg-compare):\n")
    out.append("```\n" + "\n".join(commands.values()) + "\n```\n")
    return "\n".join(out)
