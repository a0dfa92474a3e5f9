"""The subcommands of `align-uniform`, a file each: its arguments and what is done with them."""
