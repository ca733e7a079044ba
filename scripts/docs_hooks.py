"""What mkdocs runs: pictures of results/ become pages' own, and the commands' help is written into its page."""

import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
_COMMANDS = (
    *("prepare", "fit", "validate", "test", "predict", "export", "fit_ranker", "evaluate", "compare", "recommend"),
    *("package", "push", "feedback report", "feedback simulate", "feedback to-pairs"),
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures that the pages take from results/."""
    for picture in sorted((REPOSITORY / "results").rglob("*.png")):
        name = picture.relative_to(REPOSITORY).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the site's links go where the repository's do; fill in the help."""
    markdown = markdown.replace("](../results/", "](results/")
    return markdown.replace("<!-- commands -->", _commands()) if "<!-- commands -->" in markdown else markdown


def _commands() -> str:
    return "\n".join(f"## {command}\n\n```text\n{_help(command)}```\n" for command in _COMMANDS)


def _help(command: str) -> str:
    words = [sys.executable, "-m", "lit_rec", *command.split(), "--help"]
    return subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
