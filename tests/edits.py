"""Edits of a generated project, as data: what a team adds to it, in the places where teams add things."""

from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree


@dataclass(frozen=True)
class Edit:
    """New text in a file: in place of what stood there, or at its end; the file may be new. No text: delete it."""

    file: str
    text: str | None
    instead_of: str = ""

    def apply(self, project: Path) -> None:
        """Edit the project; fail when what is to be replaced is not there once."""
        path = project / self.file
        if self.text is None:
            rmtree(path) if path.is_dir() else path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if not self.instead_of:
            path.write_text(before + self.text, encoding="utf-8")
            return
        assert before.count(self.instead_of) == 1, f"{self.file} has changed: {self.instead_of!r} is not in it once"
        path.write_text(before.replace(self.instead_of, self.text), encoding="utf-8")


def add(file: str, text: str) -> list[Edit]:
    """Write to the end of a file, which may be new."""
    return [Edit(file, text)]


def replace(file: str, old: str, new: str) -> list[Edit]:
    """Put `new` in place of `old`, which is in the file once."""
    return [Edit(file, new, old)]


def delete(*files: str) -> list[Edit]:
    """Delete files, or directories with all that is in them."""
    return [Edit(file, None) for file in files]


def setting(text: str) -> list[Edit]:
    """Add lines at the end of the settings, where a project writes its own."""
    return [Edit("config/settings.py", f"{text}\nenv.verify()\n", "env.verify()\n")]


def page(app: str, code: str) -> list[Edit]:
    """Add a page at /`app`/: a module whose function `page` answers it."""
    return [
        Edit(f"{app}/__init__.py", ""),
        Edit(f"{app}/views.py", f"from django.http import HttpResponse\n{code}"),
        Edit(
            "config/urls.py",
            f"\nfrom {app} import views as {app}  # noqa: E402\n\n"
            f'urlpatterns.append(path("{app}/", {app}.page, name="{app}"))\n',
        ),
    ]


def command(app: str, name: str, code: str) -> list[Edit]:
    """Add a command of manage.py: code whose class `Command` runs it."""
    return [Edit(f"{app}/management/commands/{name}.py", code)]
