"""What the command line says on stderr: errors, warnings, notes. Data alone goes to stdout."""

import click


class Talk:
    """Verbosity: -1 errors only, 0 warnings too, 1 notes too, 2 tracebacks too."""

    def __init__(self) -> None:
        self.verbosity = 0

    def error(self, text: str) -> None:
        """Say in one line why the run failed."""
        click.echo(f"vnlsdenoise: error: {one_line(text)}", err=True)

    def warn(self, text: str) -> None:
        """Say what the user should know but need not act upon."""
        if self.verbosity >= 0:
            click.echo(f"vnlsdenoise: warning: {one_line(text)}", err=True)

    def note(self, text: str, least: int = 0) -> None:
        """Say something from verbosity `least` on."""
        if self.verbosity >= least:
            click.echo(f"vnlsdenoise: {one_line(text)}", err=True)


def one_line(text: str) -> str:
    """The text without line breaks and control characters, which file names may hold."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


talk = Talk()
