"""`python -m disasym` and `torchrun -m disasym`: the command line."""

from disasym.cli import main

if __name__ == "__main__":
    main(prog_name="disasym")
