"""The one impure write: the state directory, its lock, the record of the last apply, the transaction."""
