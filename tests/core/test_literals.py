"""Numbers are the same by value and quotes by their letters, however they are written."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.literals import held, missing, stated


def lacking(sentence, source):
    return missing(stated(sentence), held(source))


SAME = [
    ["1000", "1,000", "1.000", "1\u202f000", "1\u00a0000", "1'000", "1\u2019000", "1 thousand", "1,000.0", "٬١٠٠٠"[1:]],
    ["3.5", "3,5", "3.50", "3.5%", "$3.5", "3.5kg", "03.5", "３.５", "٣٫٥"],
    ["1234567.5", "1,234,567.5", "1.234.567,5", "1.2345675 million", "1234.5675 Thousand"],
    ["5", "5.0", "5%", "5th", "-5", "no. 5", "5-year", "共5人"],
    ["1990", "1990s", "in 1990.", "(1990)", "1990-2000"],
]
NOT_SAME = [
    ("1000", "100"),
    ("3.5", "35"),
    ("1.5 million", "1.5 billion"),
    ("5", "0.5"),
    ("1.000", "10"),
    ("12", "B12"),
]


@pytest.mark.parametrize(("claim", "source"), [(a, b) for group in SAME for a in group for b in group])
def test_a_number_is_its_value(claim, source):
    if "-2000" in claim and "-2000" not in source:
        assert lacking(claim, source) == ("2000",)
    else:
        assert lacking(f"It is {claim}", f"We say {source} here.") == ()


@pytest.mark.parametrize(("claim", "source"), NOT_SAME)
def test_another_value_is_missing(claim, source):
    assert lacking(f"It is {claim}.", f"It is {source}.") == (claim,)


@given(st.decimals(0, 10**12, places=3, allow_nan=False))
def test_grouping_and_needless_zeros_change_nothing(x):
    assert lacking(f"It is {x:,}.", f"It is {x}.") == ()
    assert lacking(f"It is {x}0.", f"It is {x:,}.") == ()
    assert lacking(f"It is {x + Decimal('0.0001')}.", f"It is {x:,}.") != ()


@given(st.integers(0, 10**40))
def test_whole_numbers_of_any_length_are_exact(n):
    assert held(f"{n:,}").numbers == held(f"{n}.0").numbers == {str(n)}
    assert lacking(f"{n}", f"{n + 1:,}") == (str(n),)


@given(st.text(), st.text())
def test_any_text_can_be_read_and_holds_its_own(text, more):
    assert lacking(text, text) == ()
    assert set(lacking(text, more + "\n" + text)) <= set(lacking(text, more))


@pytest.mark.parametrize(
    "text",
    [
        "H2O and B12",
        "1. First",
        "(2) Second",
        "so it is [1], too [2, 3]",
        "none",
        "a [4-7]",
        "(Passage 3)",
        "steps 1 and 2",
    ],
)
def test_what_states_no_number(text):
    assert stated(text) == []


@pytest.mark.parametrize(
    "bound",
    ["more than", "Fewer  than", "over $", "at least", "approximately", "before", "≥", "~", "exceeded", "under US$"],
)
def test_a_bound_need_not_be_said(bound):
    assert stated(f"It cost {bound} 1,000 in all.") == []
    assert lacking(f"It cost {bound} 1,000 in 2020.", "It cost 1,100.") == ("2020",)


@pytest.mark.parametrize(
    "text", ["It moved 5 m.", "Moreover 5.", "Undercover 5", "We handover 5.", "Than 5", "After all 5"]
)
def test_what_only_looks_like_a_bound_is_none(text):
    assert [one.written for one in stated(text)] == ["5"]


def test_digits_of_a_name_are_read_in_a_source_only():
    assert stated("COVID-19 and GPT-4") == []
    assert lacking("In 1990 and 19.", "in mid-1990, COVID-19") == ()


def test_a_date_or_a_version_is_compared_as_it_is_written():
    assert lacking("On 01.02.2020 came 1.2.3", "01.02.2020: 1.2.3") == ()
    assert lacking("On 01.02.2020 came 1.2.3", "On 1.2.2020 came 1.2.4") == ("01.02.2020", "1.2.3")


@pytest.mark.parametrize(
    "quote",
    ['"Good  Enough"', "“good enough,”", "«Good\nenough»", "„good enough“", "「good enough」", "『ｇｏｏｄ enough。』"],
)
def test_a_quote_is_its_letters(quote):
    assert lacking(f"She calls it {quote}.", "It's “GOOD” enough, she said.") == ()
    assert lacking(f"She calls it {quote}.", "It's good and enough.") == (quote,)


def test_a_quote_may_leave_something_out():
    source = "We stand by our work, as ever, and regret the delay."
    assert lacking("They wrote “we stand by our work … and regret the delay”.", source) == ()
    assert lacking('They wrote "we stand by it [...] and regret the delay".', source) != ()


def test_an_apostrophe_opens_no_quote_and_reads_as_any_other():
    assert stated("It's the dogs' day, isn't it?") == []
    assert lacking("“It\u2019s late”", "it's late") == ()


@pytest.mark.parametrize("text", ['""', "“ ”", '" ." " ..."', "«»"])
def test_a_quote_of_nothing_is_held_by_all(text):
    assert lacking(text, "") == ()


def test_each_is_named_once_as_it_is_written():
    said = 'It cost $1,000 ("a lot") in 2020, and 1,000 is "a lot".'
    assert lacking(said, "Nothing.") == ("1,000", "2020", '"a lot"')
    assert lacking(said, "1000 is a lot.") == ("2020",)
