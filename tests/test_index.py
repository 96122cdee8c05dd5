"""FAISS over embeddings: exact, in order, and refusing what is no cosine."""

import faiss
import numpy as np
import pytest

from headgate import ScorerError
from headgate.index import Index, embedder_fingerprint
from tests.embedders import Bags

TEXTS = ["reset the hub", "the invoice is wrong", "water the soil", "an invoice", "the hub"]


def test_as_arrays_it_finds_what_numpy_does():
    embedder = Bags()
    cosines, found = Index(embedder, TEXTS).nearest(["the invoice", "hub reset"], 3)
    assert [role for role, _ in embedder.seen] == ["document", "query"]
    whole = embedder.embed(["the invoice", "hub reset"], role="query") @ embedder.embed(TEXTS, role="document").T
    expected = np.argsort(-whole, axis=1)[:, :3]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(cosines, np.take_along_axis(whole, expected, axis=1), atol=1e-6)


def test_arrays_and_lists_are_the_same():
    index = Index(Bags(), TEXTS)
    cosines, found = index.nearest(["the invoice"], 9)
    assert [(f.index, f.cosine) for f in index.search("the invoice", 9)] == list(
        zip(found[0].tolist(), cosines[0].tolist(), strict=True)
    )
    assert found.shape == (1, 5)


def test_nothing_to_search_or_to_ask():
    assert Index(Bags(), []).nearest(["a"], 3)[0].shape == (1, 0)
    assert Index(Bags(), TEXTS).nearest([], 3)[1].shape == (0, 0)
    assert Index(Bags(), []).search_many(["a"], 3) == [[]]
    assert Index(Bags(), TEXTS).search_many([], 3) == []
    with pytest.raises(ValueError, match="k is 0"):
        Index(Bags(), TEXTS).nearest(["a"], 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: v * 2, "length 2; expected 1"),
        (lambda v: v * np.nan, "length nan"),
        (lambda v: v[:-1], r"expected a row a text"),
        (lambda v: v[0], r"shape \(64,\)"),
    ],
)
def test_an_embedder_that_gives_no_unit_rows_is_named(make, message):
    class Broken(Bags):
        def embed(self, texts, *, role):
            return make(super().embed(texts, role=role))

    with pytest.raises(ScorerError, match=f"Broken.*{message}"):
        Index(Broken(), TEXTS)


def test_float64_and_blank_texts_are_fine():
    class Double(Bags):
        def embed(self, texts, *, role):
            return super().embed(texts, role=role).astype(np.float64)

    assert Index(Double(), [*TEXTS, ""]).search("hub", 1)[0].index == 4
    assert isinstance(faiss.IndexFlatIP(2), faiss.Index)


def test_an_embedder_without_a_fingerprint_is_known_by_what_it_makes():
    class Other(Bags):
        def embed(self, texts, *, role):
            return super().embed([t + " more" for t in texts], role=role)

    assert embedder_fingerprint(Bags("mine")) == "mine"
    bare = [embedder_fingerprint(e(fingerprint="")) for e in (Bags, Bags, Other)]
    assert bare[0] == bare[1] != bare[2]
    assert bare[0].startswith("Bags-")
    assert bare[2].split("-")[1] != bare[0].split("-")[1]
