"""A training step stays cheap for the host of a GPU."""

import dispatcher_calls

MOST_CALLS = 6500


def test_a_step_of_four_subnets_makes_few_calls() -> None:
    assert sum(dispatcher_calls.calls_of_a_step().values()) <= MOST_CALLS


def test_a_step_waits_for_the_device_once_and_mixes_no_devices() -> None:
    assert dispatcher_calls.waits_of_a_step() == 1
