"""The `llmproxy` command."""

from llmproxy.launcher.cli import cli


def main() -> None:
    cli(prog_name="llmproxy")


if __name__ == "__main__":
    main()
