"""The suite's own modules say what they compared when an assertion fails."""

import pytest

pytest.register_assert_rewrite("guarantees.proving", "guarantees.hearing")
