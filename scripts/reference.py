"""Write docs/reference and the JSON Schemas anew from the code; `make docs` runs it."""

from pathlib import Path

from scripts import connectors

from rexecop.app.schemas import schemas
from rexecop.cli.reference import PAGES
from rexecop.cli.render import as_json

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Write every page and schema; nothing else in the folders is touched."""
    _write(DOCS / "reference", {name: page() for name, page in PAGES.items()})
    _write(DOCS / "reference", {connectors.FILE: connectors.page()})
    _write(DOCS / "formats" / "schemas", {name: as_json(schema) for name, schema in schemas().items()})


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
