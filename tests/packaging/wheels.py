"""Small wheels, made by hand: what an install needs of one, and nothing else."""

import base64
import hashlib
import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str = "1.0", *more: str, body: str = "") -> Path:
    """Write a wheel of one module with the metadata lines `more`, and return its file."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = "\n".join(("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *more)) + "\n"
    files = {
        f"{module}.py": body,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    target = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return target


def make_house(folder: Path) -> Path:
    """Make a folder of wheels like that of `make wheelhouse`: ours, one that is needed, one by its marker."""
    folder.mkdir()
    make_wheel(
        folder,
        "rexecop",
        "0.1.0",
        "License-Expression: MIT",
        "Requires-Dist: Needed.Thing[speed]>=2",
        "Requires-Dist: extra-thing>=1; extra == 'all'",
        "Requires-Dist: dev-thing>=1; extra == 'dev'",
        "Requires-Dist: other-os; sys_platform == 'win32'",
        body="word = 'installed without a network'\n",
    )
    fast = "Requires-Dist: fast-thing; extra == 'speed'"
    make_wheel(folder, "needed-thing", "2.1", "License: Apache-2.0", "Provides-Extra: speed", fast)
    make_wheel(folder, "fast-thing", "3.0")
    make_wheel(folder, "extra-thing", "1.5", "Classifier: License :: OSI Approved :: MIT License")
    make_wheel(folder, "dev-thing", "1.0")
    return folder
