"""``rnnae-bench completion``: a script with which a shell completes commands, options, names and records."""

import argparse

SHELLS = ("bash", "zsh", "fish")

_LINES = """evaluate it where the shell starts:
  bash   eval "$(rnnae-bench completion bash)"    in ~/.bashrc
  zsh    eval "$(rnnae-bench completion zsh)"     in ~/.zshrc, after compinit
  fish   rnnae-bench completion fish | source     in ~/.config/fish/config.fish"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench completion",
        description="Print the script with which a shell completes commands, options, models, tasks and records.",
        epilog=_LINES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS)
    return parser


def main(arguments: list[str]) -> int:
    """Print the script."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["rnnae-bench"], shell=parser().parse_args(arguments).shell))
    return 0
