"""Write docs/reference anew from the code; `make docs` runs it."""

from pathlib import Path

from rexecop.cli.reference import PAGES

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"


def main() -> None:
    """Write every page; nothing else in the folder is touched."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
