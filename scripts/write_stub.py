"""Writes harness/__init__.pyi, from which type checkers and editors learn the keywords of the Python API.

python scripts/write_stub.py
"""

from __future__ import annotations

from pathlib import Path

from harness.stub import package_stub

if __name__ == "__main__":
    path = Path(__file__).resolve().parent.parent / "harness" / "__init__.pyi"
    path.write_text(package_stub(), encoding="utf-8")
    print(f"written: {path}")
