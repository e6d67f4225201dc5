"""The command: python -m vnlsdenoise.training.mix BEFORE AFTER --share 0.75 -o mixed.safetensors.

The weights between those that a run began with and those it ended with (after Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022): they keep more of what the first could do, and what was new to them with less excess.
"""

from pathlib import Path

import click

from vnlsdenoise.errors import UsageError, VnlsError
from vnlsdenoise.learned.checkpoint import Header, load_network, save_network
from vnlsdenoise.learned.network import Network


def mixed(before: Network, after: Network, share: float) -> Network:
    """A network of `share` of the weights of `after`, the rest of `before`; raises UsageError where they differ in
    size, or in the classic preset that they correct."""
    kinds = [(network.dimensions, network.preset) for network in (before, after)]
    if kinds[0] != kinds[1]:
        raise UsageError(f"only networks of one size and preset can be mixed, got {kinds[0]} and {kinds[1]}")
    made = Network(after.dimensions, after.preset)
    there = after.state_dict()
    made.load_state_dict({name: here.lerp(there[name], share) for name, here in before.state_dict().items()})
    return made


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("before")
@click.argument("after")
@click.option("--share", type=click.FloatRange(0, 1), default=0.75, show_default=True, help="Of AFTER.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Weights to write.")
def main(before: str, after: str, share: float, out: Path) -> None:
    """Mix the weights that a run began with, BEFORE, and those it ended with, AFTER: names or files."""
    try:
        network = mixed(load_network(before), load_network(after), share)
        tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
        save_network(out, Header(network.dimensions, network.preset), tensors, mixed=f"{share:g}")
    except VnlsError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
