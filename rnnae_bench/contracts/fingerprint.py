"""How data are told apart: by a hash of what they hold."""

import hashlib

from rnnae_bench.contracts.batch import Batch


class Fingerprint:
    """A hash of all that is added, in its order; as text, 16 hexadecimal digits."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, content: Batch | str) -> None:
        """Take in a batch, its types and shapes included, or what stands for data."""
        if isinstance(content, str):
            self._hash.update(content.encode())
            return
        for field in content:
            if field is not None:
                self._hash.update(f"{field.dtype}{tuple(field.shape)}".encode())
                self._hash.update(field.contiguous().numpy().tobytes())

    def __str__(self) -> str:
        return self._hash.hexdigest()[:16]
