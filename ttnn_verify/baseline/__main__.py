"""List what differs between two baselines: `python -m ttnn_verify.baseline diff A B`."""

import sys
from collections.abc import Sequence

from ttnn_verify import cli, ending
from ttnn_verify.baseline.cases import ERROR_SLACK, PCC_SLACK, Limits, diff
from ttnn_verify.baseline.files import BaselineError, load


@ending.one_line
def main(args: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 nothing lost, 1 a case has lost, 2 the files do not compare."""
    parser = cli.CommandLine("ttnn-baseline", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("diff", help="what differs from A to B; exit status 1 if B lost")
    command.add_argument("a", metavar="A", help="a file of --pcc-record, or a baseline")
    command.add_argument("b", metavar="B")
    command.add_argument(*cli.spellings("--pcc-slack"), type=cli.LOSS, default=PCC_SLACK)
    command.add_argument(*cli.spellings("--pcc-error-slack"), type=cli.LOSS, default=ERROR_SLACK)
    options = parser.parse_args(args)
    try:
        a, b = load(options.a), load(options.b)
    except BaselineError as error:
        return cli.refuse(error)
    if a.platform != b.platform:
        print(f"A is of {a.platform}\nB is of {b.platform}")
    changes = list(diff(a, b, Limits(options.pcc_slack, options.pcc_error_slack)))
    for kind, line in changes:
        print(f"{kind:9} {line}")
    kinds = [kind for kind, _ in changes]
    counts = ", ".join(
        f"{kinds.count(kind)} {kind}" for kind in ("lost", "rose", "widened", "new", "vanished")
    )
    print(f"{len(a.cases)} cases in A, {len(b.cases)} in B: {counts}")
    return cli.SO if "lost" in kinds else cli.FINE


if __name__ == "__main__":
    sys.exit(main())
