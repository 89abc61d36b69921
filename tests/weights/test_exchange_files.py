"""The digest of weights in files for other libraries."""

import torch

from mmentropy.weights.exchange_files import sha256


def test_sha256_is_of_names_types_shapes_and_values():
    value = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    digest = sha256(dict(a=value, b=value))
    assert digest == sha256(dict(b=value, a=value))
    assert digest == sha256(dict(a=value.t().contiguous().t(), b=value))
    for other in (
        dict(a=value),
        dict(a=value, c=value),
        dict(a=value.view(4), b=value),
        dict(a=value.view(torch.int32), b=value),
        dict(a=value.t(), b=value),
    ):
        assert sha256(other) != digest
    assert sha256(dict(a=torch.ones((), dtype=torch.bfloat16)))
