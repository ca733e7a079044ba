"""Fetches the libraries that the demo page serves, at the versions named here, into lit_rec/service/static/vendor.

python scripts/vendor_page.py        (needs npm)

The page loads nothing from elsewhere, so what it uses is kept beside it, with its licence.
"""

import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from lit_rec.core.files import sha256_of_file

VENDOR = Path(__file__).parents[1] / "lit_rec" / "service" / "static" / "vendor"
PACKAGES = {
    "preact": ("11.2.0", "MIT", "the page's elements and their state"),
    "htm": ("3.1.1", "Apache-2.0", "templates without a build step and without eval"),
    "@github/combobox-nav": ("3.0.2", "MIT", "keyboard and screen reader behaviour of the product search"),
    "modern-normalize": ("3.0.1", "MIT", "browsers' own styles made alike"),
    "@fontsource-variable/figtree": ("5.3.0", "OFL-1.1", "the typeface, Latin letters"),
    "lucide-static": ("1.62.0", "ISC", "icons, as one sprite"),
}
FILES = {  # file here: its package and its path there
    "preact.mjs": ("preact", "dist/preact.mjs"),
    "hooks.mjs": ("preact", "hooks/dist/hooks.mjs"),
    "preact.LICENSE": ("preact", "LICENSE"),
    "htm.mjs": ("htm", "dist/htm.mjs"),
    "htm.LICENSE": ("htm", "LICENSE"),
    "combobox-nav.mjs": ("@github/combobox-nav", "dist/index.js"),
    "combobox-nav.LICENSE": ("@github/combobox-nav", "LICENSE"),
    "modern-normalize.css": ("modern-normalize", "modern-normalize.css"),
    "modern-normalize.LICENSE": ("modern-normalize", "license"),
    "figtree.woff2": ("@fontsource-variable/figtree", "files/figtree-latin-wght-normal.woff2"),
    "figtree.LICENSE": ("@fontsource-variable/figtree", "LICENSE"),
    "lucide.LICENSE": ("lucide-static", "LICENSE"),
}
ICONS = [
    "activity", "check", "circle-check", "eye-off", "history", "key-round", "plus", "repeat", "search",
    "shopping-basket", "shopping-cart", "shuffle", "sparkles", "triangle-alert", "undo-2", "users", "x",
]  # fmt: skip


def main() -> None:
    """Unpack what npm sends, and write down what it was."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: unpacked(name, version, Path(scratch)) for name, (version, _, _) in PACKAGES.items()}
        for name, (package, path) in FILES.items():
            (VENDOR / name).write_bytes(adapted(name, (folders[package] / path).read_bytes()))
        (VENDOR / "icons.svg").write_text(sprite(folders["lucide-static"] / "icons"), encoding="utf-8")
    (VENDOR / "VENDORED.md").write_text(record(), encoding="utf-8")


def unpacked(name: str, version: str, scratch: Path) -> Path:
    """A package's folder, as npm publishes it."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"{name}@{version}"], cwd=scratch, check=True, capture_output=True, text=True
    )
    folder = scratch / name.replace("/", "+")
    with tarfile.open(scratch / packed.stdout.strip()) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def adapted(name: str, content: bytes) -> bytes:
    """The file as it is, but modules find each other by path, and no source map is looked for."""
    if not name.endswith(".mjs"):
        return content
    content = content.replace(b'from"preact"', b'from"./preact.mjs"')
    return re.sub(rb"\n?//# sourceMappingURL=\S+\s*$", b"\n", content)


def sprite(icons: Path) -> str:
    """One file with all icons as symbols."""
    symbols = []
    for name in ICONS:
        shape = re.sub(r"\s+", " ", (icons / f"{name}.svg").read_text(encoding="utf-8").partition("<svg")[2])
        inner = shape.partition(">")[2].removesuffix("</svg> ").strip()
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{inner.replace(" />", "/>")}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def record() -> str:
    """The table beside the files."""
    lines = [
        "# Libraries of the page",
        "",
        "Written by `python scripts/vendor_page.py`; change the versions there.",
        "",
    ]
    lines += ["| npm package | version | licence | what for |", "|---|---|---|---|"]
    lines += [f"| {name} | {version} | {licence} | {use} |" for name, (version, licence, use) in PACKAGES.items()]
    lines += ["", "| file | sha256 |", "|---|---|"]
    files = sorted(file for file in VENDOR.iterdir() if file.name != "VENDORED.md")
    lines += [f"| {file.name} | {sha256_of_file(file)} |" for file in files]
    lines += ["", "In the modules, `preact` is imported by path and the note of a source map is left out."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
