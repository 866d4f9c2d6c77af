"""The project's own files, read as text and as syntax trees."""

import ast
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CORE: Final = ROOT / "src" / "rexecop"
PROFILES: Final = ROOT / "profiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One place that names `what`, written with its full dotted name."""

    what: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """One Python file of ours; it is parsed when somebody asks for its tree."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.path)

    def uses(self) -> Iterator[Use]:
        """Every imported or dotted name in this file, resolved through its imports and their aliases."""
        aliases = _aliases(self.tree)
        for node in ast.walk(self.tree):
            match node:
                case ast.Import():
                    yield from (Use(what=name.name, line=node.lineno) for name in node.names)
                case ast.ImportFrom(module=str(module)):
                    yield Use(what=module, line=node.lineno)
                    yield from (Use(what=f"{module}.{name.name}", line=node.lineno) for name in node.names)
                case ast.Attribute() | ast.Name():
                    if (dotted := _dotted(node, aliases)) is not None:
                        yield Use(what=dotted, line=node.lineno)
                case _:
                    pass


def code_lines(text: str, tree: ast.Module) -> int:
    """How many lines hold code: no blank line, comment, docstring or import."""
    silent: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            silent.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if ast.get_docstring(node, clean=False) is not None and first is not None:
                silent.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        1 for n, line in lines if n not in silent and line.strip() and not line.lstrip().startswith("#")
    )


def _aliases(tree: ast.Module) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {
                n.asname or n.name.split(".")[0]: n.name if n.asname else n.name.split(".")[0]
                for n in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {n.asname or n.name: f"{node.module}.{n.name}" for n in node.names}
    return found


def _dotted(node: ast.expr, aliases: Mapping[str, str]) -> str | None:
    """The full name of `node`: `dt.now` after `from datetime import datetime as dt` has three parts."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, f"builtins.{node.id}")
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, aliases)) is not None:
        return f"{base}.{node.attr}"
    return None


@cache
def python_files(*folders: Path) -> tuple[Source, ...]:
    """Every Python file below `folders`."""
    return tuple(_read(file) for folder in folders for file in sorted(folder.rglob("*.py")))


@cache
def _read(file: Path) -> Source:
    return Source(path=file.relative_to(ROOT).as_posix(), text=file.read_text(encoding="utf-8"))


def product() -> tuple[Source, ...]:
    """The core and the profiles: what is shipped."""
    return python_files(CORE, *(folder / "src" for folder in sorted(PROFILES.iterdir()) if folder.is_dir()))


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files that are, or are about to be, in version control; all files of the tree where there is none."""
    asked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if asked.returncode == 0:
        files = [ROOT / name for name in asked.stdout.decode().split("\0") if name]
    else:
        files = [
            file for file in ROOT.rglob("*") if ".venv" not in file.parts and "__pycache__" not in file.parts
        ]
    return tuple(sorted(file for file in files if file.is_file()))


if __name__ == "__main__":
    files = list(python_files(CORE))
    code = sum(code_lines(item.text, item.tree) for item in files)
    print(f"{code} lines of code in {sum(item.text.count(chr(10)) for item in files)} lines of src")
