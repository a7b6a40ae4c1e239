#!/usr/bin/env python3
"""Checks what `ARCHITECTURE.md` promises of the source, and says where it is otherwise:

- no files of a crate import each other in a circle, and a module names the module it uses, not a re-export of `lib.rs`;
- no line of Rust or of a page is wider than 120 characters, and no comment elsewhere, but for tables and what has no
  place to break it;
- no file of Rust under `src` is longer than 600 lines.

Usage: scripts/structure.py"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDEST, LONGEST = 120, 600


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


def modules(src):
    """The files of a crate by their module paths, without files of tests."""
    found = {}
    for path in sorted(src.rglob("*.rs")):
        words = path.relative_to(src).with_suffix("").parts
        words = words[:-1] if words[-1] in ("mod", "lib", "main") else words
        if "tests" not in words:
            found[words] = path
    return found


def listed(text, start):
    """The first two words of each entry of a list `{…}` whose brace is just before `start`."""
    depth, end, entries, entry = 1, start, [], ""
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0 or (depth == 1 and text[end] == ","):
            entries.append(entry)
            entry = ""
        else:
            entry += text[end]
        end += 1
    words = ([word for word in re.split(r"::|\s|[{},]", entry.strip())[:2] if word] for entry in entries)
    return [tuple(of_entry) for of_entry in words if of_entry]


def references(text, here):
    """Module paths that a file names by `crate::` and `super::`; in an inline module `super` may be the file itself."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.split(r"#\[cfg\((?:all\()?test", text)[0]
    for match in re.finditer(r"\b(crate|super)((?:::super)*)((?:::\w+)*)(::\{)?", text):
        ups = (match[1] == "super") + match[2].count("super")
        indented = text[text.rfind("\n", 0, match.start()) + 1 :][:1].isspace()
        if match[1] == "super" and indented:
            ups -= 1
        stem = here[: len(here) - ups] if match[1] == "super" else ()
        stem += tuple(word for word in match[3].split("::") if word)
        yield from ([stem + entry for entry in listed(text, match.end())] if match[4] else [stem])


def circles(edges):
    """Groups of modules that import each other in a circle (Tarjan's strongly connected components)."""
    number, lowest, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for to in sorted(edges.get(node, ())):
            if to not in number:
                visit(to)
            if to in stack:
                lowest[node] = min(lowest[node], lowest[to])
        if lowest[node] == number[node]:
            first = stack.index(node)
            group, stack[first:] = stack[first:], []
            if len(group) > 1:
                found.append(group)

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return found


def imports(crate):
    """Complaints about one crate's imports."""
    known = modules(crate / "src")
    lib = known.get((), crate / "src/lib.rs")
    text = lib.read_text() if lib.is_file() else ""
    # `pub use another_crate as name` names a crate of its own.
    renamed = set(re.findall(r"^pub use \w+ as (\w+);", text, re.M))
    edges, complaints = {}, []
    for here, path in known.items():
        if not here:
            continue
        source = path.read_text()
        for full in references(source, here):
            stem = full
            while stem and stem not in known:
                stem = stem[:-1]
            if not stem:
                # What the file defines itself is meant by `super` in one of its inline modules.
                own = full and re.search(rf"\b(fn|struct|enum|trait|type|const|static|macro_rules!)\s+{full[0]}\b", source)
                if full and not own and full[0] not in renamed:
                    complaints.append(f"{path.relative_to(ROOT)} names {full[0]} by lib.rs: name its module")
            elif stem[: len(here)] != here and here[: len(stem)] != stem:
                edges.setdefault(here, set()).add(stem)
    for group in circles(edges):
        names = ", ".join("/".join(words) for words in sorted(group))
        complaints.append(f"{crate.relative_to(ROOT)}: files that import each other in a circle: {names}")
    return complaints


def table_or_word(line):
    """Rows of tables, and lines that are one long word."""
    text = line.lstrip(" /!#*>-")
    return line.lstrip(" /!").startswith("|") or len(text.split()) < 2


GENERATED = re.compile(r"\.lock$|^results/.*/|/fixtures/|^book/src/(keys|commands)\.md$|^LICENSE")
# What a comment begins with; lines of other kinds count whole.
COMMENTS = {".rs": "", ".md": "", ".py": "#", ".sh": "#", ".toml": "#", ".slurm": "#", "": "#", ".c": "//", ".cpp": "//"}


def prose(lines):
    """The lines of a page, without commands and what programs print: these are as wide as they are."""
    fence = None
    for line in lines:
        if line.lstrip().startswith("```"):
            fence = line.strip("` ") or "text" if fence is None else None
        yield line if fence in (None, "rust") and not line.startswith("    ") else ""


def widths(files):
    for name in files:
        if name.suffix not in COMMENTS or GENERATED.search(str(name)):
            continue
        lines = (ROOT / name).read_text(encoding="utf-8").split("\n")
        lines = list(prose(lines)) if name.suffix == ".md" else lines
        mark = COMMENTS[name.suffix]
        for number, line in enumerate(lines, 1):
            if len(line) > WIDEST and line.lstrip().startswith(mark) and not table_or_word(line):
                yield f"{name}:{number} has {len(line)} characters, of {WIDEST} at most"
        if name.suffix == ".rs" and "src" in name.parts and len(lines) - 1 > LONGEST:
            yield f"{name} has {len(lines) - 1} lines, of {LONGEST} at most"


def main():
    crates = sorted(path.parent for path in (ROOT / "crates").glob("*/Cargo.toml"))
    complaints = [complaint for crate in crates for complaint in imports(crate)] + list(widths(tracked()))
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
