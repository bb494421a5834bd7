"""Tables on the terminal, and docs/performance.md with its pictures, of results.py's sections."""

import collections

from benchlib import aims, results, stats, svg

TITLES = {
    "start": "Start-up",
    "rig": "Without a guest",
    "profile": "Without a guest: where the time goes",
    "lab boot": "Laboratory: boot of an ELF image",
    "lab bzimage": "Laboratory: boot of a bzImage",
    "lab blk": "Laboratory: disk",
    "lab rings": "Laboratory: rings and transports",
    "lab tap": "Laboratory: network by tap",
    "lab user": "Laboratory: network by the user back end",
    "lab vsock": "Laboratory: sockets",
    "lab fs": "Laboratory: a shared folder",
}


# Written by hand: what was not reached, and why.
MISSED = results.ROOT / "docs/performance/missed.md"


def figure(value):
    """Four digits are more than a measurement is worth."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{2 if abs(value) < 100 else 1}f}"


def columns_of(section):
    """Headings beyond group and name, and a function that makes a row's cells of them."""
    rows = section["rows"]
    counts = list(dict.fromkeys(name for row in rows for name in row.get("counts", ())))
    by_place = {(row["group"], row["name"], row["unit"]): row for row in rows}
    with_p99 = any(len(row.get("samples", ())) >= 100 for row in rows)
    with_base = any("base" in row for row in rows)
    headings = ["unit", "median", "95 % interval", "n"]
    headings += (["p99"] if with_p99 else []) + (["ratio"] if with_base else []) + counts

    def cells(row):
        samples = row.get("samples")
        made = [row["unit"], figure(aims.value(row))]
        if samples is None:
            made += ["exact", ""]
        else:
            sure = stats.interval(samples)
            made += [f"{figure(sure[0])} to {figure(sure[1])}" if sure else "", str(len(samples))]
        if with_p99:
            made.append(figure(stats.percentile(samples, 99))
                        if samples and len(samples) >= 100 else "")
        if with_base:
            made.append(ratio_of(row, by_place))
        return made + [figure(row.get("counts", {}).get(name)) for name in counts]

    return headings, cells


def ratio_of(row, by_place):
    base = by_place.get((row["group"], row.get("base"), row["unit"]))
    if base is None or not aims.value(base):
        return ""
    return f"{aims.value(row) / aims.value(base):.2f}"


def table_of(section):
    """A list of lists of words; a group's name stands in its first row only."""
    headings, cells = columns_of(section)
    table, group = [["", ""] + headings], None
    for row in section["rows"]:
        table.append([row["group"] if row["group"] != group else "", row["name"], *cells(row)])
        group = row["group"]
    return table


def text(name, section):
    table = table_of(section)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [f"{TITLES[name]} ({where(section)})"]
    for row in table:
        lines.append("  ".join(word.ljust(width) if i < 2 else word.rjust(width)
                               for i, (word, width) in enumerate(zip(row, widths))).rstrip())
    lines += notes(name, section)
    return "\n".join(lines) + "\n"


def where(section):
    e = section["environment"]
    return ", ".join([e["host"], e["kernel"], e["kvm"], f"{e['vmm']} ({e['commit']})", *e["qemu"],
                      f"load {e['load']:.1f}"])


def busy(name, section):
    """Of a host that had other work: what is wrong with its times."""
    load, cpus = section["environment"]["load"], int(section["environment"]["host"].split()[0])
    if name.startswith("lab") or load < cpus / 2:
        return ""
    return (f"The host had other work (a load of {load:.1f} on {cpus} processors when this began): "
            "times of this part are those of a busy host, for comparison with each other.")


def repeated(section):
    """What stopped in the laboratory."""
    if not section["repeated"]:
        return ""
    times = collections.Counter(section["repeated"])
    return ("Stopped and done again: "
            + "; ".join(what + (f" ({n} times)" if n > 1 else "") for what, n in times.items()) + ".")


def missing(section):
    n = section.get("all", 0) - len(section["rows"])
    return f"Not there: {n} rows, at which laboratories stopped too often." if n > 0 else ""


def older(section):
    """Rows that are of another commit than the section."""
    of = {}
    for row in section["rows"]:
        if "commit" in row:
            of.setdefault(row["commit"], {})[row["group"]] = None
    return " ".join(f"Of commit {commit}: {', '.join(rows)}." for commit, rows in of.items())


def notes(name, section):
    return [note for note in (busy(name, section), repeated(section), missing(section),
                              older(section)) if note]


# ---- The page ----

def markdown_table(table):
    left = ["---" if i < 2 else "---:" for i in range(len(table[0]))]
    return "\n".join("| " + " | ".join(word.replace("|", "/") for word in row) + " |"
                     for row in [table[0], left, *table[1:]])


def pictures(name, section):
    """File names and pictures. Where there are bases, everything is against them."""
    rows = section["rows"]
    by_place = {(row["group"], row["name"], row["unit"]): row for row in rows}
    file = name.replace(" ", "-")
    ratios = {}
    # A colour for each name; where there are too many names, for each group.
    turned = len({row["name"] for row in rows if "base" in row}) > len(svg.COLOURS)
    for row in rows:
        base = by_place.get((row["group"], row.get("base"), row["unit"]))
        if base and aims.value(base):
            scale = 1 / aims.value(base)
            sure = stats.interval(row.get("samples", ()))
            label, series = (row["group"], row["name"])[::-1 if turned else 1]
            ratios.setdefault(label, []).append(
                (series, aims.value(row) * scale, sure and tuple(x * scale for x in sure)))
    if ratios:
        unit, base = next((row["unit"], row["base"]) for row in rows if "base" in row)
        # Each group of the rig has a base of its own.
        what = f"against {'the plain work' if name == 'rig' else base}, which is 1"
        better = "more" if unit.endswith("/s") else "less"
        yield f"{file}.svg", svg.bars(f"{TITLES[name]}: {what}; {better} is better",
                                      list(ratios.items()), lambda value: f"{value:.2f}", 1)
    absolute = {}
    for row in rows:
        if "base" not in row and "exact" not in row:
            sure = stats.interval(row["samples"])
            absolute.setdefault((row["group"], row["unit"]), []).append(
                (row["name"], [(row["group"], aims.value(row), sure)]))
    for i, ((group, unit), bars) in enumerate(absolute.items()):
        yield f"{file}-{i + 1}.svg", svg.bars(f"{group}, {unit}", bars, figure)


def page(sections):
    """The text of docs/performance.md and its pictures, {name: SVG}."""
    drawn = {}
    parts = ["# Performance\n",
             "Made by `tools/bench report` from [performance.json](performance.json). "
             "`tools/bench all --update` measures all of it anew and draws this page; the command "
             "of a part is below its title. How it is measured, and what the figures do not say: "
             "[ADR 18](adr/0018-how-we-measure.md).\n",
             "## Aims\n",
             markdown_table([["what", "aim", "reached", "yes?"],
                             *map(list, aims.judged(sections))]) + "\n",
             MISSED.read_text()]
    for name in TITLES:
        if name not in sections:
            continue
        section = sections[name]
        parts.append(f"## {TITLES[name]}\n\n    {section['command']} --update\n")
        for file, picture in pictures(name, section):
            drawn[file] = picture
            parts.append(f"![{TITLES[name]}](performance/{file})\n")
        parts.append(markdown_table(table_of(section)) + "\n")
        parts += [f"{note}\n" for note in notes(name, section)]
        parts.append(f"Measured on: {where(section)}.\n")
    return "\n".join(parts), drawn


def write(sections, root=results.ROOT):
    text_of_page, drawn = page(sections)
    (root / "docs/performance.md").write_text(text_of_page)
    folder = root / "docs/performance"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        if old.name not in drawn:
            old.unlink()
    for file, picture in drawn.items():
        (folder / file).write_text(picture)
