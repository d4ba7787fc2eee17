"""Is what the benchmarks compute from their measurements right?"""

import pytest

from benchmarks.figures import as_markdown, mean, median, percentile, rate_between, saving


def test_the_mean_is_the_sum_over_the_number():
    assert mean([1.0, 2.0, 6.0]) == 3.0


def test_the_median_is_the_middle_value_whatever_the_order():
    assert median([9.0, 1.0, 2.0]) == 2.0


def test_the_median_of_an_even_number_lies_between_the_two_middle_values():
    assert median([1.0, 9.0, 2.0, 4.0]) == 3.0


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (95, 95), (99.5, 100), (100, 100)])
def test_a_percentile_is_a_value_that_was_measured(percent, value):
    assert percentile(list(range(100, 0, -1)), percent) == value


def test_the_95th_percentile_of_few_values_is_the_slowest():
    assert percentile([1.0, 2.0, 3.0], 95) == 3.0


@pytest.mark.parametrize("figure", [mean, median, lambda values: percentile(values, 50)])
def test_nothing_measured_is_an_error_and_not_a_figure(figure):
    with pytest.raises(ValueError, match="no values"):
        figure([])


def test_a_percentile_beyond_a_hundred_is_refused():
    with pytest.raises(ValueError, match="0 to 100"):
        percentile([1.0], 101)


def test_a_third_of_the_time_saves_two_thirds():
    assert saving(1.0, 3.0) == pytest.approx(2 / 3)


def test_being_slower_is_a_negative_saving():
    assert saving(3.0, 2.0) == -0.5


def test_nothing_can_be_saved_on_no_time():
    with pytest.raises(ValueError, match="cannot save"):
        saving(1.0, 0.0)


def test_a_rate_counts_what_falls_after_the_begin_and_up_to_the_end():
    assert rate_between([0.0, 1.0, 2.0, 3.0, 4.0], 1.0, 3.0) == 1.0


def test_a_rate_over_no_time_is_refused():
    with pytest.raises(ValueError, match="no time between"):
        rate_between([1.0], 2.0, 2.0)


def test_columns_of_a_table_are_as_wide_as_their_widest_cell():
    table = as_markdown(("what", "ms"), [("a chain", "4.5"), ("x", "12.25")])

    assert table.splitlines() == [
        "| what    | ms    |",
        "|---------|-------|",
        "| a chain | 4.5   |",
        "| x       | 12.25 |",
    ]
