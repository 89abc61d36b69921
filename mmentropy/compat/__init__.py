"""Every change to a host package, one module each."""
