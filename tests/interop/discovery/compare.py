"""Holds what `sudare discover` proposed against the labels.

    compare.py FOLDER PAGE [--write]

Counts paths per category and style of names over the seven collections, prints the table of docs/discovery.md, and fails if a figure there is
better than what was measured now. With --write the table is put into the page instead.
"""

import json
import sys
from pathlib import Path

STYLES = ["english", "local", "bare"]
BEGIN, END = "<!-- measured: tests/interop/discovery/run -->", "<!-- end -->"


def member(path):
    """The member of the document that a path goes through."""
    rest = path[2:] if path.startswith("$.") else json.loads(path[2 : path.index('"]') + 1])
    return rest if path.startswith('$["') else rest.split(".")[0].split("[")[0]


def main():
    folder, page = Path(sys.argv[1]), Path(sys.argv[2])
    labels = json.loads((folder / "labels.json").read_text())
    right, proposed, labelled, values, wrong = {}, {}, {}, {}, []
    for dataset, truth in labels.items():
        style = dataset.split(".")[1]
        report = json.loads((folder / f"{dataset}.json").read_text())
        found = {}
        for proposal in report["proposals"]:
            name = member(proposal["path"])
            found[name] = proposal["category"]
            key = (proposal["category"], style)
            proposed[key] = proposed.get(key, 0) + 1
            if truth.get(name) == proposal["category"]:
                right[key] = right.get(key, 0) + 1
                taken = values.setdefault(key, [0, 0])
                taken[0] += proposal["evidence"]["matched"]
                taken[1] += proposal["evidence"]["seen"]
            else:
                wrong.append(f"{dataset}: {name} is {truth.get(name, 'nothing')}, proposed as {proposal['category']} ({proposal['confidence']}, {proposal['evidence']})")
        for name, category in truth.items():
            labelled[(category, style)] = labelled.get((category, style), 0) + 1
            if name not in found:
                wrong.append(f"{dataset}: {name} is {category}, not proposed")
    categories = sorted({category for category, _ in labelled})
    figure = lambda part, of: round(100 * part / of) if of else None
    figures = {}
    for category in categories + ["all"]:
        row = []
        for style in STYLES:
            keys = [(one, style) for one in categories] if category == "all" else [(category, style)]
            total = lambda counts: sum(counts.get(key, 0) for key in keys)
            row += [figure(total(right), total(proposed)), figure(total(right), total(labelled))]
        taken = values.get((category, "bare")) or values.get((category, "english")) if category != "all" else None
        figures[category] = row + [figure(*taken) if taken else None]
    lines = [
        "| category | English names: precision | recall | local names: precision | recall | no names: precision | recall | values taken |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for category, row in figures.items():
        lines.append(f"| {category} | " + " | ".join("–" if one is None else f"{one} %" for one in row) + " |")
    print("\n".join(lines))
    print(f"{len(wrong)} paths not as labelled")
    if "--verbose" in sys.argv or "--write" in sys.argv:
        print("\n".join(wrong))
    text = page.read_text()
    before, rest = text.split(BEGIN)
    written, after = rest.split(END)
    if "--write" in sys.argv:
        page.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)
        return
    rows = {}
    for line in written.strip().splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = [None if cell == "–" else int(cell.removesuffix(" %")) for cell in cells[1:]]
    if rows.keys() != figures.keys():
        sys.exit(f"docs/discovery.md lists {sorted(rows)}, measured were {sorted(figures)}")
    heads = [head.strip() for head in lines[0].strip("|").split("|")][1:]
    worse = [
        f"{category}, column {at + 1} ({heads[at]}): {now} measured, {there} written"
        for category, row in rows.items()
        for at, (there, now) in enumerate(zip(row, figures[category]))
        if there is not None and (now is None or now < there)
    ]
    if worse:
        sys.exit("worse than docs/discovery.md says:\n" + "\n".join(worse) + "\n" + "\n".join(wrong))


main()
