import pytest
import torch

from gpvit.ops.attention import attend, attention_weights, merge_heads, split_heads

CASES = [(1, 1, 1, 1, 1), (2, 5, 9, 3, 4), (3, 16, 64, 6, 18), (1, 100, 7, 2, 36), (2, 33, 47, 12, 5)]


def tokens(batch: int, queries: int, keys: int, heads: int, width: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * queries * keys)
    return [torch.randn(batch, n, heads * width, generator=generator) for n in (queries, keys, keys)]


def loop(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention as the textbook writes it, one sample, head and query at a time, in float64."""
    query, key, value = query.double(), key.double(), value.double()
    width = query.shape[-1] // heads
    out = torch.zeros_like(query)
    weights = torch.zeros(query.shape[0], heads, query.shape[1], key.shape[1], dtype=torch.float64)
    for b in range(query.shape[0]):
        for h in range(heads):
            head = slice(h * width, (h + 1) * width)
            for q in range(query.shape[1]):
                scores = (key[b, :, head] @ query[b, q, head] / width**0.5).exp()
                weights[b, h, q] = scores / scores.sum()
                out[b, q, head] = weights[b, h, q] @ value[b, :, head]
    return out, weights


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_is_that_of_the_textbook(case):
    query, key, value = tokens(*case)
    heads = case[3]
    out, weights = loop(query, key, value, heads)
    torch.testing.assert_close(attend(query, key, value, heads).double(), out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attention_weights(query, key, heads).double(), weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_heads_are_contiguous_channels_and_come_back(heads):
    x = torch.randn(2, 5, 12)
    split = split_heads(x, heads)
    for h, part in enumerate(x.chunk(heads, dim=-1)):
        assert torch.equal(split[:, h], part)
    assert torch.equal(merge_heads(split), x)


def test_gradients_are_right():
    inputs = [t.double().requires_grad_() for t in tokens(2, 3, 4, 2, 3)]
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, 2), inputs)
